//! YAML -> a tree in which every key and value knows its place. Built on the event parser below the deserialiser: one
//! deserialisation stops at the first error, while a person who wrote a file wants to see all of them at once, and a
//! scalar such as `1_03` must reach us as it was written.

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::{Place, Problems, quoted};

/// Largest file, bytes.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most keys and values in a file.
const MAX_NODES: usize = 50_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text between delimiters of YAML; `plain` without quotes.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order of the file, keys unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Node {
    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } if text.is_empty() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one document. `None` with at least one problem noted if it can't be used.
pub(crate) fn parse(text: &str, problems: &mut Problems<'_>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes", text.len());
        problems.add(Place::default(), what, format!("at most {MAX_BYTES} are read"));
        return None;
    }
    let mut tree = Tree { parser: Parser::new_from_str(text), nodes: 0, duplicates: Vec::new() };
    let root = tree.document();
    for (key, first) in tree.duplicates {
        let what = format!("key {} is given twice", quoted(&key.text));
        problems.add(key.place, what, format!("remove it, or the one in line {first}"));
    }
    match root {
        Ok(root) => root,
        Err((place, what, instead)) => {
            problems.add(place, what, instead);
            None
        }
    }
}

type Stop = (Place, String, String);

struct Tree<'a> {
    parser: Parser<'a, serde_yaml::granit_parser::StrInput<'a>>,
    nodes: usize,
    /// A repeated key, and the line of the first.
    duplicates: Vec<(Key, usize)>,
}

impl<'a> Tree<'a> {
    /// The next event that is data.
    fn next(&mut self) -> Result<(Event<'a>, Place), Stop> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => return Ok((event, place(span))),
                Some(Err(error)) => {
                    let mark = error.marker();
                    let place = Place { line: mark.line(), column: mark.col() + 1, length: 1 };
                    return Err((place, format!("not YAML: {}", error.info()), "mend the syntax here".into()));
                }
                None => return Ok((Event::StreamEnd, Place::default())),
            }
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err((place, "a second document".into(), "one file holds one document".into()));
                }
                Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, place, 1)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err((place, "too many values".into(), format!("a file holds at most {MAX_NODES}")));
        }
        if depth > MAX_DEPTH {
            return Err((place, "nested too deeply".into(), format!("at most {MAX_DEPTH} levels")));
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) | Event::UnresolvedAlias(_) => (true, false),
            _ => (false, false),
        };
        if anchor {
            return Err((place, "anchors and aliases are not read".into(), "write the value out".into()));
        }
        if tag {
            return Err((place, "tags are not read".into(), "write the value without `!`".into()));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => return Err((place, "a value is missing".into(), "write it here".into())),
        };
        Ok(Node { place, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = std::collections::BTreeMap::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let key = match self.node(event, place, depth + 1)? {
                Node { place, value: Value::Scalar { text, .. } } => Key { place, text },
                node => return Err((node.place, format!("{} as a key", node.kind()), "a key is a word".into())),
            };
            let (event, place) = self.next()?;
            let node = self.node(event, place, depth + 1)?;
            match seen.get(&key.text) {
                Some(&first) => self.duplicates.push((key, first)),
                None => {
                    seen.insert(key.text.clone(), key.place.line);
                    entries.push((key, node));
                }
            }
        }
    }
}

fn place(span: Span) -> Place {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Place { line: start.line(), column: start.col() + 1, length: length.max(1) }
}
