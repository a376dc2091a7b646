//! The policy: the first rule that matches decides, and no match drops.

use std::net::IpAddr;

use scalebed_frame::Flow;
use scalebed_topologies::lab::{Prefix, Rule};

/// Does the policy accept a connection whose first packet is of `flow`?
pub(crate) fn accepts(rules: &[Rule], flow: &Flow) -> bool {
    rules.iter().find(|rule| matches(rule, flow)).is_some_and(|rule| rule.accept)
}

fn matches(rule: &Rule, flow: &Flow) -> bool {
    let inside = |prefix: &Option<Prefix>, address: IpAddr| prefix.is_none_or(|prefix| prefix.contains(address));
    inside(&rule.src, flow.src)
        && inside(&rule.dst, flow.dst)
        && rule.protocol.is_none_or(|protocol| protocol == flow.protocol.0)
        && rule.dst_ports.is_none_or(|(low, high)| (low..=high).contains(&flow.dst_port))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use scalebed_frame::{Flow, Protocol};
    use scalebed_topologies::lab::{Prefix, Rule};

    use super::accepts;

    const ANY: Rule = Rule { src: None, dst: None, protocol: None, dst_ports: None, accept: true };

    fn flow(dst_port: u16) -> Flow {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 5).into(), Ipv4Addr::new(10, 9, 0, 1).into());
        Flow { protocol: Protocol::TCP, src, dst, src_port: 1000, dst_port }
    }

    #[test]
    fn the_first_match_decides_and_no_match_drops() {
        let telnet = Rule { protocol: Some(6), dst_ports: Some((23, 25)), accept: false, ..ANY };
        let inside = Rule { src: Some(Prefix { address: Ipv4Addr::new(10, 0, 0, 0).into(), length: 16 }), ..ANY };
        let rules = [telnet, inside];
        assert!(!accepts(&rules, &flow(23)));
        assert!(!accepts(&rules, &flow(25)));
        assert!(accepts(&rules, &flow(26)));
        assert!(accepts(&rules, &Flow { protocol: Protocol::UDP, ..flow(23) }));
        assert!(!accepts(&rules, &Flow { src: Ipv4Addr::new(10, 1, 0, 5).into(), ..flow(80) }));
        assert!(!accepts(&[], &flow(80)));
        let v6 = |last| std::net::Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, last).into();
        let other = Flow { src: v6(1), dst: v6(2), ..flow(80) };
        assert!(!accepts(&rules, &other), "a prefix holds nothing of the other family");
        let inside6 = Rule { src: Some(Prefix { address: v6(0), length: 64 }), ..ANY };
        assert!(accepts(&[rules[0].clone(), inside6.clone()], &other));
        assert!(!accepts(&[inside6], &flow(80)));
    }
}
