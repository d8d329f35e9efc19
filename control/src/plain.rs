//! Text from files, fit for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with what is no letter but an order to whoever shows it (control characters, line ends among
/// them, and changes of the direction of writing) written out: `\u{1b}`. Names of Kubernetes have none, but a
/// dump is a file that anybody may have written.
pub fn plain(text: &str) -> Cow<'_, str> {
    // Nearly all text is plain ASCII, and dumps are large.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.chars().any(is_order) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_order(letter) {
            // Nothing fails that is written to a string.
            let _ = write!(written, "{}", letter.escape_unicode());
        } else {
            written.push(letter);
        }
    }
    Cow::Owned(written)
}

/// Whether a character changes how others are shown.
pub fn is_order(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_written_out_and_letters_stay() {
        assert!(matches!(plain("default/wéb:http"), Cow::Borrowed("default/wéb:http")));
        assert_eq!(plain("a\x1b[2Jb\r\nc"), r"a\u{1b}[2Jb\u{d}\u{a}c");
        assert_eq!(plain("\u{9b}31m\u{202e}\u{7f}\u{2066}"), r"\u{9b}31m\u{202e}\u{7f}\u{2066}");
    }
}
