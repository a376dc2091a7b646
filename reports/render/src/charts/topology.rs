//! The lab in layers: stations, the switches of their networks, orchestrators, members, the members' own sync.

use scalebed_record::Record;
use scalebed_record::record::{Topology, TopologyNode};

use super::{WIDTH, colour};
use crate::svg::Svg;
use crate::words::clip;

/// Left margin that holds the names of the layers.
const MARGIN: f64 = 120.0;
/// From layer to layer.
const STEP: f64 = 104.0;
const BOX_HEIGHT: f64 = 46.0;
const LAYERS: [&str; 5] = ["stations", "networks", "orchestrators", "members", "sync"];

/// A node's place.
#[derive(Clone, Copy)]
struct Spot {
    layer: usize,
    x: f64,
}

/// Draws the lab; `None` without nodes.
pub(crate) fn topology(record: &Record) -> Option<String> {
    let lab = &record.topology;
    if lab.nodes.is_empty() {
        return None;
    }
    let layers = layers(lab);
    let used: Vec<usize> = (0..LAYERS.len()).filter(|layer| !layers[*layer].is_empty()).collect();
    let spots = place(lab, &layers);
    let y = |layer: usize| 14.0 + STEP * used.iter().position(|used| *used == layer).map_or(0.0, count);
    let height = 14.0 + STEP * count(used.len()) - STEP + BOX_HEIGHT + 14.0;
    let mut svg = Svg::new(WIDTH, height, "topology of the lab");
    for &layer in &used {
        svg.rect(0.0, y(layer) - 8.0, WIDTH, BOX_HEIGHT + 16.0, "band", "");
        svg.text(12.0, y(layer) + BOX_HEIGHT / 2.0 + 4.0, "t muted", LAYERS[layer]);
    }
    let room = |nodes: usize| (WIDTH - MARGIN) / count(nodes.max(1)) - 12.0;
    let width = room(layers.iter().map(Vec::len).max().unwrap_or(1)).clamp(52.0, 150.0);
    // Two subnets stand in a network's box; few networks have room for it.
    let networks = room(layers[1].len()).clamp(width, 280.0);
    for &(a, b) in &lab.cables {
        if let (Some(from), Some(to)) = (spots.get(a), spots.get(b)) {
            cable(&mut svg, lab, (a, *from), (b, *to), &y, width);
        }
    }
    for (node, spot) in lab.nodes.iter().zip(&spots) {
        let width = if spot.layer == 1 { networks } else { width };
        boxed(&mut svg, record, node, spot.x, y(spot.layer), width);
    }
    Some(svg.finish())
}

/// Nodes by layer. A switch that only members hang on carries their sync.
fn layers(lab: &Topology) -> [Vec<usize>; 5] {
    let mut layers = [const { Vec::new() }; 5];
    for (index, node) in lab.nodes.iter().enumerate() {
        let layer = match node.kind.as_str() {
            "switch" if peers(lab, index).all(|peer| lab.nodes[peer].kind == "member") => 4,
            "switch" => 1,
            "mho" => 2,
            "member" => 3,
            _ => 0,
        };
        layers[layer].push(index);
    }
    layers
}

fn peers(lab: &Topology, node: usize) -> impl Iterator<Item = usize> {
    let other = move |&(a, b): &(usize, usize)| match node {
        n if n == a => Some(b),
        n if n == b => Some(a),
        _ => None,
    };
    lab.cables.iter().filter_map(other).filter(|peer| *peer < lab.nodes.len())
}

/// Switches, orchestrators and members evenly in the order of the lab; stations above what they hang on.
fn place(lab: &Topology, layers: &[Vec<usize>; 5]) -> Vec<Spot> {
    let mut spots = vec![Spot { layer: 0, x: 0.0 }; lab.nodes.len()];
    let across = |index: usize, all: usize| MARGIN + (WIDTH - MARGIN) * (count(index) + 0.5) / count(all.max(1));
    for (layer, nodes) in layers.iter().enumerate().skip(1) {
        for (index, &node) in nodes.iter().enumerate() {
            spots[node] = Spot { layer, x: across(index, nodes.len()) };
        }
    }
    let mut stations: Vec<(f64, usize)> = layers[0]
        .iter()
        .map(|&node| {
            let above: Vec<f64> = peers(lab, node).map(|peer| spots[peer].x).collect();
            (above.iter().sum::<f64>() / count(above.len().max(1)), node)
        })
        .collect();
    stations.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (index, (_, node)) in stations.iter().enumerate() {
        spots[*node] = Spot { layer: 0, x: across(index, stations.len()) };
    }
    spots
}

fn cable(
    svg: &mut Svg,
    lab: &Topology,
    (a, from): (usize, Spot),
    (b, to): (usize, Spot),
    y: &impl Fn(usize) -> f64,
    width: f64,
) {
    let title = format!("{} -- {}", lab.nodes[a].name, lab.nodes[b].name);
    if from.layer == to.layer {
        let (left, right) = if from.x < to.x { (from.x, to.x) } else { (to.x, from.x) };
        let middle = y(from.layer) + BOX_HEIGHT / 2.0;
        svg.line((left + width / 2.0, middle), (right - width / 2.0, middle), "cable pair", &title);
        return;
    }
    let (upper, lower) = if from.layer < to.layer { (from, to) } else { (to, from) };
    let internal = [a, b].iter().any(|node| lab.nodes[*node].kind == "member")
        && [upper.layer, lower.layer].iter().any(|layer| matches!(layer, 2 | 4));
    let class = if internal { "cable shim" } else { "cable" };
    svg.line((upper.x, y(upper.layer) + BOX_HEIGHT), (lower.x, y(lower.layer)), class, &title);
}

fn boxed(svg: &mut Svg, record: &Record, node: &TopologyNode, x: f64, y: f64, width: f64) {
    let class = match node.kind.as_str() {
        "mho" => "node mho",
        "member" => "node",
        "switch" => "node switch",
        "generator" => "node generator",
        _ => "node host",
    };
    let fits = |pixels: f64| ((width - 8.0) / pixels).max(3.0);
    let left = x - width / 2.0;
    svg.card(left, y, width, BOX_HEIGHT, class, &format!("{} {}", node.name, node.detail));
    if node.kind == "member" {
        // Drawings of traffic call a member by its id, which stands in the second line.
        let id = if super::names(record).contains(&node.detail.as_str()) { &node.detail } else { &node.name };
        svg.rect(left, y + 6.0, 4.0, BOX_HEIGHT - 12.0, &format!("m{}", colour(record, id)), "");
    }
    let (name, detail) = (clip(&node.name, whole(fits(7.6))), clip(&node.detail, whole(fits(6.4))));
    let lift = if node.detail.is_empty() { 5.0 } else { -2.0 };
    svg.text(x, y + BOX_HEIGHT / 2.0 + lift, "t mid strong", &name);
    if !detail.is_empty() {
        svg.text(x, y + BOX_HEIGHT / 2.0 + 13.0, "t mid small muted", &detail);
    }
}

fn count(number: usize) -> f64 {
    crate::words::real(number as u64)
}

/// A small positive number without its fraction.
fn whole(number: f64) -> usize {
    number as usize
}
