//! `scalebed graph`: a lab as SVG, Mermaid or Graphviz.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::ValueEnum;
use scalebed_record::record::{Topology, TopologyNode};
use scalebed_topologies::Lab;

/// Form of a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For Markdown that is shown by a forge.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// One file that a browser shows.
    Svg,
}

/// Draws a lab. `remarks` by node's name stand below it: roles and states of one that is up.
#[must_use]
pub fn draw(lab: &Lab, remarks: &BTreeMap<String, String>, form: Form) -> String {
    let mut topology = scalebed_checkers::topology(lab);
    for node in &mut topology.nodes {
        if let Some(remark) = remarks.get(&node.name).filter(|remark| !remark.is_empty()) {
            node.detail = format!("{} {remark}", node.detail);
        }
    }
    match form {
        Form::Mermaid => mermaid(&topology),
        Form::Dot => dot(&topology),
        Form::Svg => format!("{}\n", scalebed_render::drawing(&topology)),
    }
}

/// Inside quotes of both languages.
fn quoted(text: &str) -> String {
    text.replace('"', "'")
}

fn mermaid(lab: &Topology) -> String {
    let mut text = "flowchart TB\n".to_owned();
    for (index, TopologyNode { name, kind, detail }) in lab.nodes.iter().enumerate() {
        let (open, close) = match kind.as_str() {
            "switch" => ("{{", "}}"),
            "host" | "generator" => ("([", "])"),
            _ => ("[", "]"),
        };
        let _infallible = writeln!(text, "  n{index}{open}\"{}<br/>{}\"{close}", quoted(name), quoted(detail));
    }
    for (a, b) in &lab.cables {
        let _infallible = writeln!(text, "  n{a} --- n{b}");
    }
    text
}

fn dot(lab: &Topology) -> String {
    let mut text = "graph lab {\n  node [fontname=\"sans-serif\"];\n".to_owned();
    for (index, TopologyNode { name, kind, detail }) in lab.nodes.iter().enumerate() {
        let shape = match kind.as_str() {
            "switch" => "hexagon",
            "host" | "generator" => "ellipse",
            _ => "box",
        };
        let _infallible =
            writeln!(text, "  n{index} [shape={shape}, label=\"{}\\n{}\"];", quoted(name), quoted(detail));
    }
    for (a, b) in &lab.cables {
        let _infallible = writeln!(text, "  n{a} -- n{b};");
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Form, draw};
    use crate::files;

    #[test]
    fn every_form_has_every_node_and_its_remark() {
        let (lab, _) = files::lab("maestro-single-site").expect("a shipped lab");
        let remarks = BTreeMap::from([("sgm-1-02".to_owned(), "active SMO".to_owned())]);
        for form in [Form::Mermaid, Form::Dot, Form::Svg] {
            let text = draw(&lab, &remarks, form);
            for node in &lab.nodes {
                assert!(text.contains(&node.name), "{form:?}: {}", node.name);
            }
            assert!(text.contains("active SMO"), "{form:?}");
        }
        let cables = |text: &str, join: &str| text.lines().filter(|line| line.contains(join)).count();
        let none = BTreeMap::new();
        assert_eq!(cables(&draw(&lab, &none, Form::Mermaid), " --- "), lab.cables.len());
        assert_eq!(cables(&draw(&lab, &none, Form::Dot), " -- "), lab.cables.len());
        let svg = draw(&lab, &none, Form::Svg);
        assert!(svg.starts_with("<svg xmlns=") && svg.contains("<style>"), "{}", &svg[..80]);
    }
}
