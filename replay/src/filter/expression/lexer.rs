//! From characters to words, numbers, addresses and signs.

use std::net::Ipv6Addr;

/// Most words and signs in an expression: what is read is a tree, and trees are walked by recursion.
const MAX_TOKENS: usize = 2_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, or a name.
    Word(String),
    Number(u32),
    /// `10.1`: its octets as the high ones of a word, and how many there are, 2 to 4.
    Dotted(u32, u8),
    V6(Ipv6Addr),
    Mac([u8; 6]),
    Sign(&'static str),
    /// What cannot be read, and why: the last before the end.
    Bad(String),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "&&", "||", "<<", ">>", "<=", ">=", "==", "!=", "(", ")", "[", "]", "!", "&", "|", "^", "+",
    "-", "*", "/", "%", "<", ">", "=",
];

/// The tokens with their positions, in characters from 1; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    let mut at = 1 + text.chars().count() - rest.chars().count();
    while !rest.is_empty() {
        let (token, length) = if found.len() == MAX_TOKENS {
            (Token::Bad(format!("more than {MAX_TOKENS} words")), rest.len())
        } else {
            token(rest).unwrap_or_else(|problem| (Token::Bad(problem), rest.len()))
        };
        found.push((at, token));
        let next = rest.get(length..).unwrap_or_default().trim_start();
        at += rest.chars().count() - next.chars().count();
        rest = next;
    }
    found.push((at, Token::End));
    found
}

/// The first token, and its length in bytes.
fn token(text: &str) -> Result<(Token, usize), String> {
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':' || c == '\\') {
        return word(text);
    }
    match SIGNS.into_iter().find(|sign| text.starts_with(sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => {
            let first = text.chars().next().unwrap_or_default();
            Err(format!("`{}` is no part of filter expressions", first.escape_debug()))
        }
    }
}

/// How many bytes from the start on are like this.
fn run(text: &str, like: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !like(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn word(text: &str) -> Result<(Token, usize), String> {
    let address = run(text, |c| c.is_ascii_hexdigit() || c == ':' || c == '.');
    if let Some((mac, length)) = mac(text) {
        return Ok((Token::Mac(mac), length));
    }
    if address.matches(':').count() > 1
        && let Ok(v6) = address.parse()
    {
        return Ok((Token::V6(v6), address.len()));
    }
    if text.starts_with(':') {
        return Ok((Token::Sign(":"), 1));
    }
    let escaped = text.starts_with('\\');
    let bare = if escaped { text.get(1..).unwrap_or_default() } else { text };
    let name = run(bare, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if name.is_empty() {
        return Err("expected a name behind `\\`".into());
    }
    if !escaped && name.starts_with(|c: char| c.is_ascii_digit()) {
        return numeric(run(name, |c| c.is_ascii_alphanumeric() || c == '.'));
    }
    let length = name.len() + usize::from(escaped);
    Ok((Token::Word(name.to_owned()), length))
}

/// A number as in C, or the octets of an address.
fn numeric(text: &str) -> Result<(Token, usize), String> {
    if text.contains('.') {
        let octets: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
        let octets = octets.ok().filter(|octets| octets.len() <= 4);
        let octets = octets.ok_or_else(|| format!("`{text}` is no address"))?;
        let value = (0..4).fold(0, |value: u32, i| {
            value << 8 | u32::from(octets.get(i).copied().unwrap_or_default())
        });
        return Ok((Token::Dotted(value, octets.len() as u8), text.len()));
    }
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let value = u32::from_str_radix(digits, radix);
    let value = value.map_err(|_| format!("`{text}` is no number of 32 bits"))?;
    Ok((Token::Number(value), text.len()))
}

/// Six groups of one or two hexadecimal digits.
fn mac(text: &str) -> Option<([u8; 6], usize)> {
    let mut mac = [0; 6];
    let mut rest = text;
    for (i, octet) in mac.iter_mut().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix([':', '-'])?;
        }
        let digits = run(rest, |c| c.is_ascii_hexdigit());
        if !(1..=2).contains(&digits.len()) {
            return None;
        }
        *octet = u8::from_str_radix(digits, 16).ok()?;
        rest = rest.get(digits.len()..)?;
    }
    let ends = !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':');
    ends.then_some((mac, text.len() - rest.len()))
}
