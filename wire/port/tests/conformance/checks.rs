//! What every backend does.

use std::time::Duration;

use scalebed_port::{BATCH, clock};

use crate::bench::{Arrivals, Backend, MTU, frame, receive, receive_all, send};

fn bytes(arrived: Arrivals) -> Vec<Vec<u8>> {
    arrived.into_iter().map(|(bytes, _)| bytes).collect()
}

pub fn every_length(a: &mut impl Backend, b: &mut impl Backend) {
    let lengths: Vec<usize> = (14..=MTU + 14).collect();
    for chunk in lengths.chunks(BATCH) {
        let frames: Vec<_> = chunk.iter().map(|length| frame(*length, *length)).collect();
        send(a, &frames);
        assert_eq!(bytes(receive_all(b, frames.len())), frames);
    }
    assert_eq!((a.unsent(), receive(b)), (0, vec![]));
}

pub fn more_than_a_batch<B: Backend>(a: &mut B, b: &mut B) {
    let frames: Vec<_> = (0..5 * BATCH + 3).map(|number| frame(number, 60)).collect();
    send(a, &frames);
    b.pause(Duration::from_secs(1));
    let first = receive(b);
    assert!((1..=BATCH).contains(&first.len()), "{}", first.len());
    let rest = receive_all(b, frames.len() - first.len());
    assert_eq!([bytes(first), bytes(rest)].concat(), frames);
}

pub fn no_echo<B: Backend>(a: &mut B, b: &mut B) {
    let frames = [frame(1, 60), frame(2, 60)];
    send(a, &frames);
    assert_eq!(receive_all(b, 2).len(), 2);
    assert_eq!(receive(a), vec![], "its own frames");
    send(b, &frames[..1]);
    assert_eq!(bytes(receive_all(a, 1)), frames[..1], "the other's frames come there");
}

/// Read long after they came, frames still tell when that was.
pub fn stamps<B: Backend>(a: &mut B, b: &mut B) {
    const AGE: Duration = Duration::from_millis(20);
    // What two reads of the clocks may be off by, generously; far below `AGE`.
    const SLACK: Duration = Duration::from_millis(2);
    if !B::CAPABILITIES.timestamps {
        send(a, &[frame(0, 60)]);
        assert_eq!(receive_all(b, 1)[0].1, 0, "no stamp rather than a wrong one");
        return println!("skipped: stamps: the {} backend has none", B::NAME);
    }
    // The kernel starts to stamp a little after the first socket that asks for it.
    let warm = (0..50).any(|_| {
        send(a, &[frame(0, 60)]);
        std::thread::sleep(AGE);
        receive(b).iter().any(|(_, stamp)| clock::monotonic().0 - stamp > 10_000_000)
    });
    assert!(warm, "stamps of the read, not of the arrival");
    let before = clock::monotonic();
    for number in 0..10 {
        send(a, &[frame(number, 60)]);
    }
    let after = clock::monotonic();
    std::thread::sleep(AGE);
    let stamps: Vec<u64> = receive_all(b, 10).into_iter().map(|(_, stamp)| stamp).collect();
    assert_eq!(stamps.len(), 10);
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert!(before.0 <= stamps[0] + SLACK.as_nanos() as u64, "{before} {stamps:?}");
    assert!(stamps[9] <= (after + SLACK).0, "{after} {stamps:?}");
}

/// IEEE 802.1Q, 802.1ad, and one within the other.
pub fn tags<B: Backend>(a: &mut B, b: &mut B) {
    let tagged = |tags: &[u8]| {
        let plain = frame(9, MTU - 10);
        [&plain[..12], tags, &plain[12..]].concat()
    };
    let frames = [
        tagged(&[0x81, 0x00, 0xe0, 0x05]),
        tagged(&[0x81, 0x00, 0x00, 0x00]),
        tagged(&[0x88, 0xa8, 0x0f, 0xfe]),
        tagged(&[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x08]),
        frame(10, 60),
    ];
    send(a, &frames);
    let arrived = bytes(receive_all(b, frames.len()));
    if B::CAPABILITIES.tags {
        assert_eq!(arrived, frames);
    } else {
        assert_eq!(arrived[0], frame(9, MTU - 10), "the lack is real");
        println!("skipped: tags: the {} backend loses them", B::NAME);
    }
}
