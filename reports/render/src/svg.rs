//! Drawings as text. Colours are classes of the page's style sheet, so that a drawing follows the reader's light or dark
//! theme; every text is escaped here, and nowhere else.

use std::fmt::Write as _;

/// Distinct colours that the style sheet has for members.
pub(crate) const COLOURS: usize = 8;

/// Escapes a text for HTML and SVG, content and attributes alike.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A drawing under way.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

impl Svg {
    /// An empty drawing; the label is what a screen reader says.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: escape(label), body: String::new() }
    }

    /// A rectangle; the title appears under the pointer.
    pub(crate) fn rect(&mut self, x: f64, y: f64, w: f64, h: f64, class: &str, title: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.body, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}""#);
        self.close("rect", title);
    }

    /// A rectangle with round corners.
    pub(crate) fn card(&mut self, x: f64, y: f64, w: f64, h: f64, class: &str, title: &str) {
        let _ =
            write!(self.body, r#"<rect class="{class}" rx="6" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}""#);
        self.close("rect", title);
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str, title: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}""#);
        self.close("line", title);
    }

    /// A circle.
    pub(crate) fn circle(&mut self, x: f64, y: f64, r: f64, class: &str, title: &str) {
        let _ = write!(self.body, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{r:.1}""#);
        self.close("circle", title);
    }

    /// A path by its commands.
    pub(crate) fn path(&mut self, d: &str, class: &str, title: &str) {
        let _ = write!(self.body, r#"<path class="{class}" d="{d}""#);
        self.close("path", title);
    }

    /// A text; the class says size and anchor.
    pub(crate) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ = write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text));
    }

    fn close(&mut self, tag: &str, title: &str) {
        if title.is_empty() {
            self.body.push_str("/>");
        } else {
            let _ = write!(self.body, "><title>{}</title></{tag}>", escape(title));
        }
    }

    /// The whole drawing.
    pub(crate) fn finish(self) -> String {
        let Self { width, height, label, body } = self;
        format!(
            r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{label}" preserveAspectRatio="xMidYMid meet">{body}</svg>"#
        )
    }
}

/// A linear scale from values to pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Scale {
    /// `from..to` of the value drawn at `low..high`; an empty range is widened.
    pub(crate) fn new(from: f64, to: f64, low: f64, high: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, low, high }
    }

    /// Where a value is drawn; values outside are moved to the edge.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.low + part * (self.high - self.low)
    }

    /// About `count` round values within the range.
    pub(crate) fn ticks(&self, count: f64) -> Vec<f64> {
        let rough = (self.to - self.from) / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.from / step).ceil();
        (0..100).map(|n| (first + f64::from(n)) * step).take_while(|tick| *tick <= self.to + step * 1e-9).collect()
    }
}

/// The drawn text of a tick in milliseconds, as seconds with the digits that the step needs.
pub(crate) fn tick_seconds(ms: f64) -> String {
    let text = format!("{:.2}", ms / 1_000.0);
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_can_not_leave_its_element() {
        let mut svg = Svg::new(10.0, 10.0, "\"><script>");
        svg.text(0.0, 0.0, "t", "</text><script>alert(1)</script>");
        svg.rect(0.0, 0.0, 1.0, 1.0, "c", "' onload='x");
        let drawn = svg.finish();
        assert!(!drawn.contains("<script"), "{drawn}");
        assert!(!drawn.contains("' onload"), "{drawn}");
    }

    #[test]
    fn scales_keep_values_inside() {
        let scale = Scale::new(0.0, 10.0, 100.0, 200.0);
        assert_eq!([-5.0, 0.0, 5.0, 50.0].map(|value| scale.at(value)), [100.0, 100.0, 150.0, 200.0]);
        assert_eq!(Scale::new(3.0, 3.0, 0.0, 1.0).at(3.0), 0.0);
        assert_eq!(scale.ticks(5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    }
}
