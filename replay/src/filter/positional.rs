//! Captures and an expression on one command line: `a.pcap - node-2=b.pcap tcp port 80`.

use std::path::{Path, PathBuf};

use super::expression::Expression;
use crate::failure::Failure;

/// The words up to the first that is no capture, and the expression that the others are.
///
/// A capture is a file that is there, `-`, or `NODE=FILE` of a file that is there.
pub fn split(words: &[String]) -> Result<(Vec<PathBuf>, Option<Expression>), Failure> {
    let count = words.iter().take_while(|word| is_capture(word)).count();
    let (captures, rest) = words.split_at_checked(count).unwrap_or((words, &[]));
    let captures: Vec<PathBuf> = captures.iter().map(PathBuf::from).collect();
    let Some(first) = rest.first() else { return Ok((captures, None)) };
    let text = rest.join(" ");
    match text.parse() {
        Ok(_) if captures.is_empty() => Err(Failure::Usage(format!(
            "no capture is named: {first}: no such file; `{text}` is a filter expression, which \
             comes behind the captures"
        ))),
        Ok(expression) => Ok((captures, Some(expression))),
        Err(error) if error.at <= first.chars().count() => Err(Failure::Usage(format!(
            "{first}: no such file, and not a filter expression either: {error}"
        ))),
        Err(error) => {
            let late = rest.iter().find(|word| is_capture(word));
            let late = late.map(|word| format!("; {word} is a capture, and comes before it"));
            Err(Failure::Usage(format!(
                "filter expression `{text}`: {error}{}",
                late.unwrap_or_default()
            )))
        }
    }
}

fn is_capture(word: &str) -> bool {
    let named = |(_, file): (&str, &str)| file == "-" || Path::new(file).exists();
    word == "-" || Path::new(word).exists() || word.split_once('=').is_some_and(named)
}
