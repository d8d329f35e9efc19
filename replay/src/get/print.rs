//! Rows as columns for people, and as JSON lines.

use std::io::{self, Write};

use serde::Serialize;

/// A row of a table, which may take several lines.
pub trait Row: Serialize {
    /// Its `type` in JSON.
    const TYPE: &'static str;
    /// The heads of its columns, and whether a column is shown in the wide form only.
    const HEAD: &'static [(&'static str, bool)];
    /// Its lines, with all columns.
    fn lines(&self) -> Vec<Vec<String>>;
    /// `service/default/web`, for what Kubernetes has a name of.
    fn name(&self) -> Option<String> {
        None
    }
}

/// What stands for nothing in a column.
pub const NONE: &str = "<none>";

/// The text, or what stands for nothing.
pub fn or_none(text: String) -> String {
    if text.is_empty() { NONE.into() } else { text }
}

/// Columns, two or more spaces between, as kubectl has them.
pub fn columns<R: Row>(
    output: &mut impl Write,
    rows: &[R],
    wide: bool,
    heads: bool,
) -> io::Result<()> {
    let shown: Vec<usize> = (0..R::HEAD.len())
        .filter(|at| R::HEAD.get(*at).is_some_and(|head| wide || !head.1))
        .collect();
    let head: Vec<String> = R::HEAD.iter().map(|(name, _)| (*name).to_owned()).collect();
    let first = heads.then_some(head).into_iter();
    let lines: Vec<Vec<String>> = first.chain(rows.iter().flat_map(Row::lines)).collect();
    let width = |at: &usize| {
        lines
            .iter()
            .filter_map(|line| line.get(*at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = shown.iter().map(width).collect();
    let mut text = String::new();
    for line in &lines {
        text.clear();
        for (at, width) in shown.iter().zip(&widths) {
            let cell = line.get(*at).map_or("", String::as_str);
            text.push_str(&format!("{cell:<width$}   "));
        }
        writeln!(output, "{}", text.trim_end())?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Line<'a, R> {
    v: u8,
    r#type: &'static str,
    #[serde(flatten)]
    row: &'a R,
}

/// One object per row.
pub fn json<R: Row>(output: &mut impl Write, rows: &[R]) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *output, &Line { v: 1, r#type: R::TYPE, row })?;
        writeln!(output)?;
    }
    Ok(())
}

/// Names, each once; whether rows of this kind have any.
pub fn names<R: Row>(output: &mut impl Write, rows: &[R]) -> io::Result<()> {
    let mut last = None;
    for row in rows {
        let name = row.name();
        if let Some(name) = name.as_ref().filter(|name| last.as_ref() != Some(*name)) {
            writeln!(output, "{name}")?;
        }
        last = name;
    }
    Ok(())
}
