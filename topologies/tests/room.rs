//! Labs with room for members to come: the room is there, and everything else is as without it.

use scalebed_frame::MemberId;
use scalebed_topologies::{Lab, catalogue, load_lab, load_lab_as_cabled, load_lab_with_room};

/// The shipped labs, and what they are not: ElasticXL with fewer members than fit, Maestro with one orchestrator.
fn texts() -> Vec<String> {
    let shipped = catalogue::lab_names().into_iter().filter_map(catalogue::lab_text).map(str::to_owned);
    shipped.chain([two_members(), edited("maestro-single-site", "orchestrators: 2", "orchestrators: 1")]).collect()
}

fn edited(lab: &str, from: &str, to: &str) -> String {
    let text = catalogue::lab_text(lab).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn two_members() -> String {
    edited("elasticxl-single-site", "members: 3", "members: 2")
}

/// The text with another number of members.
fn with_members(text: &str, members: usize) -> String {
    let line = text.lines().find(|line| line.starts_with("members: ")).unwrap();
    text.replacen(line, &format!("members: {members}"), 1)
}

fn numbers(members: &[MemberId]) -> Vec<u8> {
    members.iter().map(|member| member.number).collect()
}

/// The lab less its room.
fn without_room(mut lab: Lab, plain: &Lab) -> Lab {
    lab.nodes.truncate(plain.nodes.len());
    lab.cables.truncate(plain.cables.len());
    for (node, plain) in lab.nodes.iter_mut().zip(&plain.nodes) {
        node.ports.truncate(plain.ports.len());
    }
    let spare = std::mem::take(&mut lab.spare);
    lab.absent.retain(|member| !spare.contains(member));
    lab
}

#[test]
fn what_a_file_has_is_the_same_with_room() {
    for text in texts() {
        let plain = load_lab("lab.yaml", &text).unwrap();
        for more in 0..=4 {
            let roomy = load_lab_with_room("lab.yaml", &text, more).unwrap();
            let (spare, cabled) = (roomy.spare.len(), roomy.members().len());
            assert_eq!((cabled - spare, &roomy.absent), (plain.members().len(), &roomy.spare), "{}", plain.name);
            let of_room = roomy.nodes.iter().filter(|node| roomy.is_spare(node)).count();
            assert_eq!((of_room, roomy.nodes.len()), (spare, plain.nodes.len() + spare));
            assert_eq!(without_room(roomy, &plain), plain, "{} with {more} more", plain.name);
        }
    }
}

#[test]
fn members_of_the_room_are_cabled_as_if_the_file_had_them() {
    for text in [catalogue::lab_text("maestro-single-site").unwrap().to_owned(), two_members()] {
        let roomy = load_lab_with_room("lab.yaml", &text, 1).unwrap();
        let larger = load_lab("lab.yaml", &with_members(&text, roomy.members().len())).unwrap();
        let member = roomy.spare[0];
        let ((_, one), (_, other)) = (roomy.by_id(member.into()).unwrap(), larger.by_id(member.into()).unwrap());
        assert_eq!((&one.name, one.ports.len()), (&other.name, other.ports.len()));
        for (a, b) in one.ports.iter().zip(&other.ports) {
            assert_eq!((&a.name, a.role, a.mac, a.mtu), (&b.name, b.role, b.mac, b.mtu));
            let ends = |lab: &Lab, cable: u16| {
                let cable = &lab.cables[usize::from(cable)];
                let name = |end: scalebed_topologies::lab::End| {
                    let node = &lab.nodes[usize::from(end.node)];
                    let port = &node.ports[usize::from(end.port)];
                    (node.name.clone(), port.name.clone(), port.role)
                };
                (cable.name.clone(), name(cable.a), name(cable.b))
            };
            assert_eq!(ends(&roomy, a.cable), ends(&larger, b.cable));
        }
    }
}

#[test]
fn there_is_as_much_room_as_a_larger_file_would_be_valid_with() {
    let few_buckets = edited("maestro-single-site", "buckets: 512", "buckets: 5");
    let few_ports = edited("maestro-single-site", "ports: 10000-59999", "ports: 10000-10400");
    for (text, most) in texts().into_iter().chain([few_buckets, few_ports]).zip([3, 31, 21, 3, 21, 5, 6]) {
        let roomy = load_lab_with_room("lab.yaml", &text, u8::MAX).unwrap();
        assert_eq!(roomy.members().len(), most, "{}", roomy.name);
        load_lab("lab.yaml", &with_members(&text, most)).unwrap();
        load_lab("lab.yaml", &with_members(&text, most + 1)).unwrap_err();
    }
}

#[test]
fn a_file_is_judged_as_it_stands() {
    let text = catalogue::lab_text("maestro-single-site").unwrap();
    for wrong in [
        "absent: [1_05]",
        "impairments: [{cables: [mho1--sgm-1-05], kinds: [lan]}]",
        "impairments: [{cables: [none], kinds: [lan]}]",
        "absent: [1_01, 1_02, 1_03, 1_04]",
    ] {
        let text = format!("{text}\n{wrong}\n");
        let plain = load_lab("lab.yaml", &text).unwrap_err();
        assert_eq!(load_lab_with_room("lab.yaml", &text, 2).unwrap_err(), plain);
    }
}

/// More members or fewer, the lab that is up is the same: who is there differs, and impairments are of the same cables.
#[test]
fn another_text_of_a_lab_is_cabled_as_the_one_that_is_up() {
    let end = "\nimpairments: [{cables: [CABLE], kinds: [lan]}]\n";
    for (text, cable) in [
        (catalogue::lab_text("maestro-single-site").unwrap().to_owned(), "mho1--mho2"),
        (two_members(), "member-1-02--sw-outside"),
    ] {
        let text = text + &end.replace("CABLE", cable);
        let up = load_lab_with_room("lab.yaml", &text, 2).unwrap();
        let (first, all) = (up.members().len() - up.spare.len(), up.members().len());
        for members in 2..=all {
            let mut other = load_lab_as_cabled("lab.yaml", &with_members(&text, members), &up).unwrap();
            let beyond: Vec<u8> = (1..=all).skip(members).map(|number| u8::try_from(number).unwrap()).collect();
            assert_eq!((numbers(&other.spare), numbers(&other.absent)), (beyond.clone(), beyond), "{members}");
            // And from there on as well.
            let back = load_lab_as_cabled("lab.yaml", &text, &other).unwrap();
            assert_eq!(back, up);
            (other.absent, other.spare) = (up.absent.clone(), up.spare.clone());
            assert_eq!(other, up, "{first} members became {members}");
        }
    }
    let maestro = catalogue::lab_text("maestro-single-site").unwrap();
    let up = load_lab_with_room("lab.yaml", maestro, 2).unwrap();
    let more = load_lab_as_cabled("lab.yaml", &with_members(maestro, 9), &up).unwrap();
    assert_eq!((more.members().len(), more.spare.len()), (9, 0));
    let absent = load_lab_as_cabled("lab.yaml", &format!("{maestro}\nabsent: [1_02]\n"), &up).unwrap();
    assert_eq!((numbers(&absent.absent), numbers(&absent.spare)), (vec![2, 5, 6], vec![5, 6]));
}
