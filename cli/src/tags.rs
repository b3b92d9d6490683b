//! The tags of an invalidation: those on the command line, then those of a file or of the standard input, in batches of bounded size.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
};

use serde_json::{Value, json};

use crate::{arguments::Invalidate, output::Failure};

/// The most tags that are invalidated by one call, and their most bytes: the page accepts 256 KiB, and escapes can make a tag six times as long.
const MOST_TAGS: usize = 1_000;
const MOST_BYTES: usize = 32 << 10;

/// The longest line that can be a tag, with white space around it.
const LONGEST_LINE: u64 = 4 << 10;

/// Where tags come from.
struct Source {
    /// The file, for messages.
    name: String,
    lines: Box<dyn BufRead>,
    /// The number of the last line that was read.
    line: u64,
}

/// Tags that are invalidated by one call.
#[derive(Debug, Default)]
struct Batch {
    tags: Vec<String>,
    bytes: usize,
    /// The first and the last line that they come from; 0 for those on the command line.
    lines: (u64, u64),
}

/// Invalidates all tags, one batch after another, and returns the answer to the last one with the number of all tags.
///
/// A batch with an invalid tag does not stop those after it: its valid tags take effect. Any other failure does.
pub(crate) fn invalidate(
    what: &Invalidate,
    mut invalidate: impl FnMut(&[String]) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let Some(from) = &what.tags_from else { return invalidate(&what.tags) };
    let mut source = Source::open(from)?;
    let mut batch = Batch::default();
    what.tags.iter().for_each(|tag| batch.push(tag.clone(), 0));
    let (mut done, mut batches, mut invalid, mut answer) = (0, 0, Vec::new(), Value::Null);
    loop {
        let next = source.next_tag().map_err(|failure| failure.after(done))?;
        let is_full = next.as_ref().is_some_and(|(tag, _)| batch.is_full_for(tag));
        if (is_full || next.is_none()) && !batch.tags.is_empty() {
            let (count, place) = (batch.tags.len(), source.place(&batch));
            match invalidate(&batch.tags) {
                Ok(value) => answer = value,
                Err(Failure::Usage(text)) => invalid.push(format!("{place}: {text}")),
                Err(failure) => return Err(failure.at(&place).after(done)),
            }
            (done, batches, batch) = (done + count, batches + 1, Batch::default());
        }
        match next {
            Some((tag, line)) => batch.push(tag, line),
            None => break,
        }
    }
    if done == 0 {
        return Err(Failure::usage(format!("{} has no tags: nothing was invalidated", source.name)));
    }
    if !invalid.is_empty() {
        return Err(Failure::usage(format!("{}. All other tags are invalidated", invalid.join("; "))));
    }
    if batches > 1 {
        answer["done"] = json!(format!("{done} tags are invalidated, by {batches} calls"));
    }
    answer["tags"] = json!(done);
    Ok(answer)
}

impl Batch {
    fn push(&mut self, tag: String, line: u64) {
        self.bytes += tag.len();
        self.tags.push(tag);
        let first = if self.lines.0 == 0 { line } else { self.lines.0 };
        self.lines = (first, line);
    }

    fn is_full_for(&self, tag: &str) -> bool {
        self.tags.len() >= MOST_TAGS || self.bytes + tag.len() > MOST_BYTES
    }
}

impl Source {
    fn open(path: &str) -> Result<Self, Failure> {
        if path == "-" {
            return Ok(Self { name: "the standard input".to_owned(), lines: Box::new(BufReader::new(io::stdin())), line: 0 });
        }
        let file = File::open(path).map_err(|error| {
            Failure::usage(format!(
                "the tags cannot be read from `{path}`: {error}. Give a text file with one tag a line, or - for the standard input"
            ))
        })?;
        Ok(Self { name: format!("`{path}`"), lines: Box::new(BufReader::new(file)), line: 0 })
    }

    /// Returns the next line that is not empty, without white space around it, and its number.
    fn next_tag(&mut self) -> Result<Option<(String, u64)>, Failure> {
        loop {
            let mut line = Vec::new();
            let read = self.lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Failure::failed(format!("{} cannot be read: {error}", self.name)))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
                return Err(self.no_tag("is longer than 4 KiB"));
            }
            let line = String::from_utf8(line).map_err(|_| self.no_tag("is not UTF-8"))?;
            if !line.trim().is_empty() {
                return Ok(Some((line.trim().to_owned(), self.line)));
            }
        }
    }

    fn no_tag(&self, problem: &str) -> Failure {
        Failure::usage(format!("line {} of {} {problem}: give a text file with one tag a line", self.line, self.name))
    }

    /// Where the tags of a batch come from.
    fn place(&self, batch: &Batch) -> String {
        match batch.lines {
            (0, 0) => "the tags of --tag".to_owned(),
            (first, last) if first == last => format!("line {first} of {}", self.name),
            (first, last) => format!("lines {first} to {last} of {}", self.name),
        }
    }
}
