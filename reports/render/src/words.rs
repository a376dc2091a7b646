//! Numbers as people read them, and words that two forms of the report share.

/// What replaying is.
pub(crate) const REPLAY: &str = "It feeds what each node was told, in the order and at the times in which it was told, to \
    the node's engine again, needs no privilege, and says whether the engine does again what it did in the run: then what \
    failed can be looked into, input by input, without namespaces. A node's folder instead of the run's replays that node.";

/// `1.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time in milliseconds with the unit that fits: `0.4 ms`, `312 ms`, `1.25 s`.
pub(crate) fn millis(ms: f64) -> String {
    if !ms.is_finite() {
        "-".to_owned()
    } else if ms.abs() >= 1_000.0 {
        format!("{:.2} s", ms / 1_000.0)
    } else if ms.abs() >= 10.0 || ms == 0.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// A point of time, seconds after the schedule's start.
pub(crate) fn seconds(ms: f64) -> String {
    format!("{:.3} s", ms / 1_000.0)
}

/// `25.0 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "-".to_owned() }
}

/// Part of a whole as a share; of nothing, 0.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { real(part) / real(whole) }
}

/// A count for drawing: exact far beyond what a run counts.
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// `first` and so on; the text up to a length, with a sign where it was cut.
pub(crate) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let counts = [0, 7, 999, 1_000, 12_345, 1_234_567].map(thousands).join(" ");
        insta::assert_snapshot!(counts, @"0 7 999 1,000 12,345 1,234,567");
        let times = [0.0, 0.42, 9.96, 312.4, 1_249.0, f64::NAN].map(millis).join(" | ");
        insta::assert_snapshot!(times, @"0 ms | 0.4 ms | 10.0 ms | 312 ms | 1.25 s | -");
        assert_eq!(percent(share(1, 4)), "25.0 %");
        assert_eq!(percent(share(0, 0)), "0.0 %");
        assert_eq!(clip("abcdef", 4), "abc…");
    }
}
