//! Commands as they are typed.

use std::path::Path;

use clap::ValueEnum;

/// A word, in quotes where a shell would read it as something else.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The name of a file as a word.
pub fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A value that an option takes, by its name.
pub fn value(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What was typed.
pub fn typed() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once("twinpath".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_to_a_shell_what_they_are() {
        for (word, expected) in [
            ("-f", "-f"),
            ("a/b-c_d.pcap", "a/b-c_d.pcap"),
            ("my file.pcap", "'my file.pcap'"),
            ("node@1,50%", "node@1,50%"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("2.5=after.yaml", "2.5=after.yaml"),
        ] {
            assert_eq!(quoted(word), expected);
        }
        assert_eq!(path("x y.pcap".as_ref()), "'x y.pcap'");
    }
}
