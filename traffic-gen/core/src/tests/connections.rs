//! TCP of the generator, from the handshake to the end.

use super::*;

#[test]
fn a_tcp_connection_from_handshake_to_fin() {
    let mut bench =
        Bench::new(config(300 * MS, vec![flow(FlowKind::Tcp, 1, 10, 100 * MS, 300 * MS)]), Settings::default());
    bench.run_to_ms(3_000);
    insta::assert_snapshot!(summary(&bench), @r"
    0.150000 Inside [S] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.150020 Outside [S.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.150040 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.200000 Inside [P.] tcp 198.18.64.1:10001 > 198.18.128.1:8000 round 0 late 0
    0.200020 Outside [.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.250000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 0 late 0
    0.250020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.300000 Inside [P.] tcp 198.18.64.1:10001 > 198.18.128.1:8000 round 1 late 0
    0.300020 Outside [.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.350000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 1 late 0
    0.350020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.400000 Inside [F.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.400020 Outside [F.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.400040 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    ");
    let report = bench.report();
    let tcp = report.tcp[0];
    // SYN 50 ms before the first request; the answer is a round trip later.
    assert_eq!(tcp.established, START + 50 * MS + 2 * PATH);
    assert_eq!((tcp.rounds, tcp.retransmitted, tcp.reset, tcp.broken), (2, 0, 0, false));
    assert_eq!(tcp.last_round, START + 250 * MS + PATH);
    assert_eq!((report.sent, report.received, report.foreign), (4, 4, 0));
}

#[test]
fn a_half_closed_connection_goes_on_from_its_server_to_the_end() {
    let mut half = flow(FlowKind::Tcp, 1, 10, 100 * MS, 500 * MS);
    half.shape = Shape::HalfClosed { at: 150 * MS };
    let mut bench = Bench::new(config(500 * MS, vec![half]), Settings::default());
    bench.run_to_ms(3_000);
    insta::assert_snapshot!(summary(&bench), @r"
    0.150000 Inside [S] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.150020 Outside [S.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.150040 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.200000 Inside [P.] tcp 198.18.64.1:10001 > 198.18.128.1:8000 round 0 late 0
    0.200020 Outside [.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.250000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 0 late 0
    0.250020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.300000 Inside [F.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.300020 Outside [.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.350000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 1 late 0
    0.350020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.450000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 2 late 0
    0.450020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.550000 Outside [P.] tcp 198.18.128.1:8000 > 198.18.64.1:10001 round 3 late 0
    0.550020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    0.650000 Outside [F.] tcp 198.18.128.1:8000 > 198.18.64.1:10001
    0.650020 Inside [.] tcp 198.18.64.1:10001 > 198.18.128.1:8000
    ");
    let report = bench.report();
    let tcp = report.tcp[0];
    assert_eq!(tcp.opened, START + 50 * MS);
    assert_eq!(tcp.half_closed, START + 200 * MS + 2 * PATH);
    assert_eq!((tcp.rounds, tcp.retransmitted, tcp.reset, tcp.broken), (4, 0, 0, false));
    assert_eq!((report.sent, report.received, report.foreign), (5, 5, 0));
    // Its FIN is acknowledged last.
    assert_eq!(tcp.acknowledged, START + 550 * MS + 2 * PATH);
}

#[test]
fn a_flow_closes_where_its_next_request_would_have_been() {
    let flows = vec![flow(FlowKind::Tcp, 1, 10, 130 * MS, 300 * MS), flow(FlowKind::Tcp, 2, 10, 70 * MS, 300 * MS)];
    let mut bench = Bench::new(config(300 * MS, flows), Settings::default());
    bench.run_to_ms(3_000);
    let summary = summary(&bench);
    let fins: Vec<&str> = summary.lines().filter(|line| line.contains("Inside [F.]")).map(|line| &line[..8]).collect();
    assert_eq!(fins, ["0.430000", "0.470000"]);
}

#[test]
fn what_a_lossy_cable_loses_of_tcp_is_sent_again_until_every_round_is_whole() {
    let flows = (0..20).map(|number| flow(FlowKind::Tcp, number, 10, 100 * MS, 3_000 * MS)).collect();
    let settings = Settings::both_ways(Rules::loss(50_000));
    let mut bench = Bench::new(config(4_000 * MS, flows), settings);
    bench.run_to_ms(8_000);
    let report = bench.report();
    for tcp in &report.tcp {
        assert!(tcp.established > 0 && !tcp.broken && tcp.reset == 0, "{tcp:?}");
        // A response whose request came after the FIN was due can't be given any more.
        assert!(tcp.rounds >= 25, "{tcp:?}");
    }
    assert!(report.tcp.iter().map(|tcp| tcp.retransmitted).sum::<u32>() > 50);
    assert_eq!((report.skipped, report.corrupt), (0, 0));
}

#[test]
fn replies_go_to_the_tuple_that_the_server_saw() {
    let flows = vec![flow(FlowKind::Udp, 1, 10, 0, 300 * MS), flow(FlowKind::Tcp, 2, 10, 60 * MS, 300 * MS)];
    let mut bench = Bench::new(config(300 * MS, flows), Settings::default());
    bench.faults.borrow_mut().hide_behind = Some(address(1, 1));
    bench.run_to_ms(200);
    // The mapping of the UDP flow changes; its replies follow at once.
    bench.faults.borrow_mut().port_offset = 7_000;
    bench.faults.borrow_mut().only_udp = true;
    bench.run_to_ms(3_000);
    let seen = bench.seen.borrow();
    let mut replies: Vec<String> = (seen.iter())
        .filter(|seen| seen.place == Place::Outside)
        .filter_map(|seen| Some(format!("{} round {}", seen.view().flow()?, seen.signature()?.sequence)))
        .collect();
    replies.sort();
    insta::assert_snapshot!(replies.join("\n"), @r"
    tcp 198.18.128.2:8000 > 198.18.1.1:10002 round 0
    tcp 198.18.128.2:8000 > 198.18.1.1:10002 round 1
    udp 198.18.128.1:8000 > 198.18.1.1:10001 round 0
    udp 198.18.128.1:8000 > 198.18.1.1:17001 round 1
    udp 198.18.128.1:8000 > 198.18.1.1:17001 round 2
    ");
    let report = bench.report();
    assert_eq!((report.foreign, report.tcp[0].rounds, report.tcp[0].broken), (0, 2, false));
}

#[test]
fn a_syn_that_comes_again_through_another_binding_is_the_same_connection() {
    let mut bench =
        Bench::new(config(500 * MS, vec![flow(FlowKind::Tcp, 1, 10, 300 * MS, 500 * MS)]), Settings::default());
    bench.faults.borrow_mut().hide_behind = Some(address(1, 1));
    bench.faults.borrow_mut().drop_from = Some(Place::Outside);
    bench.run_to_ms(400);
    bench.faults.borrow_mut().drop_from = None;
    bench.faults.borrow_mut().port_offset = 7_000;
    bench.run_to_ms(3_000);
    let report = bench.report();
    let tcp = report.tcp[0];
    assert_eq!((tcp.rounds, tcp.reset, tcp.broken), (2, 0, false), "{tcp:?}");
    assert_eq!(bench.generator.borrow().servers.len(), 1);
    assert_eq!(bench.report().foreign, 0);
}

#[test]
fn a_reset_ends_the_flow_and_says_when() {
    let mut bench =
        Bench::new(config(900 * MS, vec![flow(FlowKind::Tcp, 1, 10, 100 * MS, 900 * MS)]), Settings::default());
    bench.run_to_ms(410);
    // The client gets another address on its way: what it acknowledges next is nobody's at the server, and is refused.
    bench.faults.borrow_mut().hide_behind = Some(address(1, 1));
    bench.run_to_ms(3_000);
    let report = bench.report();
    let tcp = report.tcp[0];
    assert_eq!(tcp.rounds, 3, "{tcp:?}");
    assert_eq!(tcp.reset, 450 * MS + 3 * PATH, "response, its acknowledgement, reset");
    assert!(report.unsendable > 0 && report.foreign > 0);
}
