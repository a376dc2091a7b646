//! Typed reading of a YAML tree. Every method notes what is wrong and goes on, so that one pass finds every problem.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::{Place, Problems, nearest, quoted, suggestion};
use crate::lab::Prefix;
use crate::yaml::{Key, Node, Value};

/// A value with its place, for checks that come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What a mapping may hold.
pub(crate) struct Shape {
    /// What it describes, for messages: `a network`.
    pub(crate) what: &'static str,
    /// Valid keys.
    pub(crate) keys: &'static [&'static str],
    /// Keys that mean something, but are not built yet.
    pub(crate) later: &'static [&'static str],
}

/// The entries of a mapping whose keys were checked.
pub(crate) struct Fields<'a> {
    place: Place,
    what: &'static str,
    entries: &'a [(Key, Node)],
    /// Keys that unknown ones seem to mean: they are not missing, they are misspelt.
    meant: Vec<&'static str>,
    /// Some key is not read.
    odd: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// Where the key stands; the mapping itself if it is absent.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.entries.iter().find(|(k, _)| k.text == key).map_or(self.place, |(k, _)| k.place)
    }

    /// Some key was not understood, which is noted already.
    pub(crate) const fn is_odd(&self) -> bool {
        self.odd
    }

    /// The value of a key that must be there.
    pub(crate) fn require(&self, key: &'static str, problems: &mut Problems<'_>) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() && !self.meant.contains(&key) {
            let what = format!("{} has no `{key}`", self.what);
            problems.add(self.place, what, format!("add `{key}: ...`"));
        }
        found
    }
}

/// A mapping with known keys.
pub(crate) fn fields<'a>(node: &'a Node, shape: &Shape, problems: &mut Problems<'_>) -> Option<Fields<'a>> {
    let Value::Map(entries) = &node.value else {
        let what = format!("{} is {}", shape.what, node.kind());
        problems.add(node.place, what, format!("write a mapping with the keys {}", shape.keys.join(", ")));
        return None;
    };
    let (mut meant, mut odd) = (Vec::new(), false);
    for (key, _) in entries {
        if problems.is_full() {
            break;
        }
        if shape.later.contains(&key.text.as_str()) {
            odd = true;
            problems.add(key.place, format!("`{}` is not supported yet", key.text), "remove the key");
        } else if !shape.keys.contains(&key.text.as_str()) {
            odd = true;
            meant.extend(nearest(&key.text, shape.keys));
            let what = format!("unknown key {} in {}", quoted(&key.text), shape.what);
            problems.add(key.place, what, suggestion("key", &key.text, shape.keys));
        }
    }
    Some(Fields { place: node.place, what: shape.what, entries, meant, odd })
}

/// A mapping whose keys are names of the writer's choosing.
pub(crate) fn named<'a>(node: &'a Node, what: &str, problems: &mut Problems<'_>) -> &'a [(Key, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => {
            let instead = "write a mapping of names, as in `inside: {...}`";
            problems.add(node.place, format!("{what} is {}", node.kind()), instead);
            &[]
        }
    }
}

/// A list.
pub(crate) fn list<'a>(node: &'a Node, what: &str, problems: &mut Problems<'_>) -> &'a [Node] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            problems.add(node.place, format!("`{what}` is {}", node.kind()), "write a list, as in `[a, b]`");
            &[]
        }
    }
}

/// A single value as text.
pub(crate) fn scalar<'a>(node: &'a Node, what: &str, problems: &mut Problems<'_>) -> Option<At<&'a str>> {
    match &node.value {
        Value::Scalar { text, plain } if !(*plain && text.is_empty()) => Some(At { value: text, place: node.place }),
        _ => {
            problems.add(node.place, format!("`{what}` is {}", node.kind()), "write a single value");
            None
        }
    }
}

/// A whole number in a range.
pub(crate) fn number<T>(node: &Node, what: &str, range: RangeInclusive<T>, problems: &mut Problems<'_>) -> Option<At<T>>
where
    T: FromStr + PartialOrd + Display,
{
    let At { value: text, place } = scalar(node, what, problems)?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<T>() {
        Ok(value) if digits && range.contains(&value) => Some(At { value, place }),
        _ => {
            let wrong = if digits { "is out of range" } else { "is not a whole number" };
            let instead = format!("write a number from {} to {}", range.start(), range.end());
            problems.add(place, format!("`{what}: {}` {wrong}", bare(text)), instead);
            None
        }
    }
}

/// One of several words.
pub(crate) fn choice<T: Copy>(
    node: &Node,
    what: &str,
    valid: &[(&str, T)],
    later: &[&str],
    problems: &mut Problems<'_>,
) -> Option<At<T>> {
    let At { value: text, place } = scalar(node, what, problems)?;
    let words: Vec<&str> = valid.iter().map(|(word, _)| *word).collect();
    if let Some((_, value)) = valid.iter().find(|(word, _)| *word == text) {
        return Some(At { value: *value, place });
    }
    if later.contains(&text) {
        let instead = format!("valid values now: {}", words.join(", "));
        problems.add(place, format!("`{what}: {text}` is not supported yet"), instead);
    } else {
        problems.add(place, format!("unknown value {} of `{what}`", quoted(text)), suggestion("value", text, &words));
    }
    None
}

/// `on` or `off`, `true` or `false`.
pub(crate) fn switch(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<bool> {
    let words = [("on", true), ("off", false), ("true", true), ("false", false)];
    choice(node, what, &words, &[], problems).map(|at| at.value)
}

/// A duration with its unit, in milliseconds.
pub(crate) fn millis(
    node: &Node,
    what: &str,
    range: RangeInclusive<u32>,
    problems: &mut Problems<'_>,
) -> Option<At<u32>> {
    let At { value: text, place } = scalar(node, what, problems)?;
    let value = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => ms.parse::<u32>().ok(),
        (None, Some(seconds)) => seconds_to_millis(seconds),
        (None, None) => None,
    };
    match value {
        Some(value) if range.contains(&value) => Some(At { value, place }),
        Some(_) => {
            let instead = format!("write a time from {}ms to {}ms", range.start(), range.end());
            problems.add(place, format!("`{what}: {}` is out of range", bare(text)), instead);
            None
        }
        None => {
            let instead = match text.parse::<u32>() {
                Ok(plain) => format!("write the unit: `{plain}ms` or `{plain}s`"),
                Err(_) => "write a number and a unit, as in `100ms` or `5.5s`".to_owned(),
            };
            problems.add(place, format!("`{what}: {}` is not a time", bare(text)), instead);
            None
        }
    }
}

/// `5` or `5.5` or `5.525`: at most three digits behind the point, exactly.
fn seconds_to_millis(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// Which family a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    const fn address(self) -> &'static str {
        match self {
            Self::V4 => "198.18.0.1",
            Self::V6 => "2001:2::1",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::V4 => "198.18.0.0/24",
            Self::V6 => "2001:2::/64",
        }
    }
}

/// An address of a family.
pub(crate) fn address(node: &Node, what: &str, family: Family, problems: &mut Problems<'_>) -> Option<At<IpAddr>> {
    let At { value: text, place } = scalar(node, what, problems)?;
    let instead = format!("write an {} address, as in `{}`", family.word(), family.address());
    match text.parse::<IpAddr>() {
        Ok(value) if Family::of(value) == family => Some(At { value, place }),
        Ok(value) => {
            let what = format!("`{what}: {text}` is an {} address", Family::of(value).word());
            problems.add(place, what, instead);
            None
        }
        Err(_) => {
            problems.add(place, format!("`{what}: {}` is not an address", bare(text)), instead);
            None
        }
    }
}

/// A prefix, from text that is a value or a key. `family`: of that one alone.
pub(crate) fn prefix(
    text: &str,
    place: Place,
    family: Option<Family>,
    problems: &mut Problems<'_>,
) -> Option<At<Prefix>> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let digits = length.bytes().all(|b| b.is_ascii_digit());
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length: &u8| digits && *length <= most)?;
        Some(Prefix { address, length })
    });
    let wanted = family.unwrap_or(Family::V4);
    let instead = format!("write an {} prefix, as in `{}`", wanted.word(), wanted.prefix());
    let Some(value) = parsed else {
        problems.add(place, format!("{} is not a prefix", quoted(text)), instead);
        return None;
    };
    if family.is_some_and(|family| family != Family::of(value.address)) {
        let what = format!("{} is an {} prefix", quoted(text), Family::of(value.address).word());
        problems.add(place, what, instead);
        return None;
    }
    let network = value.network();
    if network != value.address {
        let what = format!("{} has host bits set", quoted(text));
        problems.add(place, what, format!("write `{network}/{}`", value.length));
        return None;
    }
    Some(At { value, place })
}

/// Both ends of a range of numbers, `a-b` or `a`.
pub(crate) fn span(
    node: &Node,
    what: &str,
    bounds: RangeInclusive<u16>,
    problems: &mut Problems<'_>,
) -> Option<At<(u16, u16)>> {
    let At { value: text, place } = scalar(node, what, problems)?;
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let end = |text: &str| text.trim().parse().ok().filter(|number| bounds.contains(number));
    match (end(low), end(high)) {
        (Some(low), Some(high)) if low <= high => Some(At { value: (low, high), place }),
        _ => {
            let what = format!("`{what}: {}` is not a range", bare(text));
            let instead = format!("write `low-high`, from {} to {}", bounds.start(), bounds.end());
            problems.add(place, what, instead);
            None
        }
    }
}

/// A name: a letter or digit, then letters, digits and hyphens, at most 32, not a hyphen at the end.
pub(crate) fn name(text: &str, place: Place, problems: &mut Problems<'_>) -> Option<At<String>> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = text.bytes().all(|b| plain(b) || b == b'-');
    let ends = [text.bytes().next(), text.bytes().next_back()].iter().all(|b| b.is_some_and(plain));
    if inner && ends && text.len() <= 32 {
        return Some(At { value: text.to_owned(), place });
    }
    let what = format!("{} is not a name", quoted(text));
    problems.add(place, what, "write lower-case letters, digits and inner hyphens, at most 32");
    None
}

/// A line for people.
pub(crate) fn sentence(node: &Node, what: &str, problems: &mut Problems<'_>) -> Option<String> {
    let At { value: text, place } = scalar(node, what, problems)?;
    if text.chars().count() <= 300 && !text.chars().any(char::is_control) {
        return Some(text.to_owned());
    }
    problems.add(place, format!("`{what}` is too long or has line breaks"), "write one line of at most 300 characters");
    None
}

/// A text of the file inside a longer quotation.
fn bare(text: &str) -> String {
    quoted(text).trim_matches('`').to_owned()
}
