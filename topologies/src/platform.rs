//! Platform profiles: ports, their default roles, and limits, as data.

use crate::error::{Error, Problems};
use crate::lab::Architecture;
use crate::reader::{self, Shape, fields};
use crate::yaml::{self, Node};

/// A range of port numbers, both ends included.
pub type Ports = (u16, u16);

/// The shipped profiles: name and text.
const SHIPPED: [(&str, &str); 5] = [
    ("mho-140", include_str!("../platforms/mho-140.yaml")),
    ("mho-140-31", include_str!("../platforms/mho-140-31.yaml")),
    ("mho-170", include_str!("../platforms/mho-170.yaml")),
    ("mho-175", include_str!("../platforms/mho-175.yaml")),
    ("elasticxl", include_str!("../platforms/elasticxl.yaml")),
];

/// What a platform has and allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name.
    pub name: String,
    /// The release that the limits speak of.
    pub release: String,
    /// What it is for.
    pub architecture: Architecture,
    /// Default port roles; orchestrators only.
    pub roles: Option<Roles>,
    /// Most members of a group at one site.
    pub members: u8,
}

/// Default roles of an orchestrator's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Uplinks of management networks.
    pub management: Ports,
    /// Uplinks of data networks.
    pub uplink: Ports,
    /// To members.
    pub downlink: Ports,
    /// To the other orchestrator of the site.
    pub pair: Ports,
}

/// Names of the shipped profiles.
#[must_use]
pub fn names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

/// The shipped profile of this name; `None` if there is none.
///
/// # Errors
/// The profile itself is not valid.
pub fn shipped(name: &str) -> Result<Option<Platform>, Error> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(name, text)| load(name, text)).transpose()
}

/// Reads a profile.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(file: &str, text: &str) -> Result<Platform, Error> {
    let mut problems = Problems::of(text);
    let platform = yaml::parse(text, &mut problems).and_then(|root| platform(&root, &mut problems));
    problems.finish(file, platform)
}

const PROFILE: Shape = Shape {
    what: "a platform profile",
    keys: &["name", "release", "architecture", "ports", "roles", "limits"],
    later: &[],
};
const ROLES: Shape =
    Shape { what: "`roles`", keys: &["management", "uplink", "downlink", "pair", "site-sync"], later: &[] };
const LIMITS: Shape = Shape { what: "`limits`", keys: &["members", "members-dual-site", "groups"], later: &[] };

fn platform(root: &Node, problems: &mut Problems<'_>) -> Option<Platform> {
    let map = fields(root, &PROFILE, problems)?;
    let name = map.require("name", problems).and_then(|node| reader::scalar(node, "name", problems))?;
    let name = reader::name(name.value, name.place, problems)?.value;
    let release = map.require("release", problems).and_then(|node| reader::scalar(node, "release", problems))?;
    let architecture = map.require("architecture", problems).and_then(|node| architecture(node, problems))?;
    let limits = map.require("limits", problems).and_then(|node| fields(node, &LIMITS, problems))?;
    let members = limits.require("members", problems)?;
    let members = reader::number(members, "members", 1..=127, problems)?.value;
    let roles = match map.get("roles") {
        Some(node) => Some(roles(node, problems)?),
        None => None,
    };
    Some(Platform { name, release: release.value.to_owned(), architecture, roles, members })
}

fn roles(node: &Node, problems: &mut Problems<'_>) -> Option<Roles> {
    let map = fields(node, &ROLES, problems)?;
    let mut ports = |key| {
        let node = map.require(key, problems)?;
        reader::span(node, key, 1..=255, problems).map(|at| at.value)
    };
    Some(Roles {
        management: ports("management")?,
        uplink: ports("uplink")?,
        downlink: ports("downlink")?,
        pair: ports("pair")?,
    })
}

pub(crate) fn architecture(node: &Node, problems: &mut Problems<'_>) -> Option<Architecture> {
    let words = [("maestro", Architecture::Maestro), ("elasticxl", Architecture::ElasticXl)];
    reader::choice(node, "architecture", &words, &["clusterxl"], problems).map(|at| at.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_valid_and_named_as_its_file() {
        for name in names() {
            let platform = shipped(name).unwrap().unwrap();
            assert_eq!(platform.name, name);
            assert_eq!(platform.roles.is_some(), platform.architecture == Architecture::Maestro);
        }
        assert_eq!(shipped("mho-141").unwrap(), None);
    }
}
