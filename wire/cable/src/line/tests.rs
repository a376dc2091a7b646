//! Every rule by itself with its numbers, and what holds of all of them together.

use proptest::prelude::*;

use super::*;
use crate::rules::{Burst, DEFAULT_DELAY, Rate, Reorder};

const MS: u64 = 1_000_000;

fn line() -> Line {
    Line::new(7, 0, Direction::ToB)
}

/// So many frames of 100 bytes, one a millisecond.
fn fates(rules: Rules, count: u64) -> Vec<Fate> {
    let mut line = line();
    (0..count).map(|index| line.offer(&rules, index * MS, 100)).collect()
}

fn lost(fates: &[Fate]) -> Vec<usize> {
    (0..fates.len()).filter(|&index| matches!(fates[index], Fate::Lost(_))).collect()
}

fn after(fate: Fate) -> Duration {
    match fate {
        Fate::Passes { after, .. } => after,
        Fate::Lost(loss) => panic!("lost: {loss:?}"),
    }
}

/// When each comes out, ns.
fn instants(fates: &[Fate]) -> Vec<u64> {
    (0u64..).zip(fates).map(|(index, fate)| index * MS + nanos(after(*fate))).collect()
}

/// Within five standard deviations of what a share of a million gives: one run in 1.7 million is outside by chance, and
/// the draws are always the same.
fn near(count: usize, of: u64, per_million: u32) {
    let p = f64::from(per_million) / 1e6;
    let (mean, deviation) = (of as f64 * p, (of as f64 * p * (1.0 - p)).sqrt());
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{count}, not {mean:.0} +- {:.0}", 5.0 * deviation);
}

#[test]
fn plain_passes_and_cut_does_not() {
    let plain = Fate::Passes { after: DEFAULT_DELAY, twice: false, corrupt: None, truncate: None, held_back: false };
    assert_eq!(fates(Rules::default(), 3), [plain; 3]);
    assert_eq!(fates(Rules::cut(), 3), [Fate::Lost(Loss::Cut); 3]);
}

#[test]
fn shares_are_as_much_as_was_asked_for() {
    const ALL: u64 = 100_000;
    let rules = Rules {
        loss: 10_000,
        duplicate: 20_000,
        corrupt: 30_000,
        truncate: 50_000,
        reorder: Reorder { per_million: 40_000, by: Duration::from_millis(5) },
        ..Rules::default()
    };
    let all = fates(rules, ALL);
    near(lost(&all).len(), ALL, 10_000);
    let of = |is: fn(&Fate) -> bool| all.iter().filter(|fate| is(fate)).count();
    let passed = ALL - lost(&all).len() as u64;
    near(of(|fate| matches!(fate, Fate::Passes { twice: true, .. })), passed, 20_000);
    near(of(|fate| matches!(fate, Fate::Passes { corrupt: Some(_), .. })), passed, 30_000);
    near(of(|fate| matches!(fate, Fate::Passes { truncate: Some(_), .. })), passed, 50_000);
    near(of(|fate| matches!(fate, Fate::Passes { held_back: true, .. })), passed, 40_000);
    assert_eq!(lost(&fates(Rules::loss(0), ALL)).len(), 0);
    assert_eq!(lost(&fates(Rules::loss(1_000_000), ALL)).len(), 100_000);
}

#[test]
fn what_is_cut_short_keeps_its_head_and_never_all() {
    let rules = Rules { truncate: 1_000_000, ..Rules::default() };
    let lengths: Vec<usize> = fates(rules, 10_000)
        .into_iter()
        .map(|fate| match fate {
            Fate::Passes { truncate: Some(drawn), .. } => shortened(100, drawn),
            other => panic!("{other:?}"),
        })
        .collect();
    // Any of 86 lengths, each as often as the others.
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&14), Some(&99)));
    let mean = lengths.iter().sum::<usize>() as f64 / 10_000.0;
    assert!((mean - 56.5).abs() < 1.3, "{mean}");
    for drawn in [0, u64::MAX] {
        assert_eq!([0, 7, 14].map(|length| shortened(length, drawn)), [0, 7, 14]);
    }
    assert_eq!([0, u64::MAX].map(|drawn| shortened(15, drawn)), [14, 14]);
}

#[test]
fn bursts_have_their_share_and_their_length() {
    const ALL: u64 = 200_000;
    // 1 % of the time into one, 10 frames long in the mean: 1 / 11 of all.
    let all = fates(Rules { burst: Some(Burst { enter: 10_000, leave: 100_000 }), ..Rules::default() }, ALL);
    let lost = lost(&all);
    let share = lost.len() as f64 / ALL as f64;
    assert!((share - 1.0 / 11.0).abs() < 0.006, "{share}");
    let bursts = 1 + lost.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    let length = lost.len() as f64 / bursts as f64;
    assert!((length - 10.0).abs() < 0.7, "{length}");
    assert!(lost.iter().all(|&index| all[index] == Fate::Lost(Loss::Burst)));
}

#[test]
fn a_burst_ends_with_its_rule() {
    let mut line = line();
    let always = Rules { burst: Some(Burst { enter: 1_000_000, leave: 0 }), ..Rules::default() };
    assert_eq!(line.offer(&always, 0, 100), Fate::Lost(Loss::Burst));
    assert_eq!(after(line.offer(&Rules::default(), 1, 100)), DEFAULT_DELAY);
    assert_eq!(line.offer(&always, 2, 100), Fate::Lost(Loss::Burst));
}

#[test]
fn jitter_spreads_and_keeps_the_order() {
    let delay = Duration::from_millis(20);
    let rules = Rules { delay, jitter: Duration::from_millis(5), ..Rules::default() };
    let all = fates(rules, 10_000);
    let out = instants(&all);
    assert!(out.is_sorted());
    // The last of a few is late where a later one was drawn earlier: so more come late than early.
    let (low, high) = (Duration::from_millis(15), Duration::from_millis(25));
    assert!(all.iter().all(|fate| (low..=high).contains(&after(*fate))));
    assert!(all.iter().any(|fate| after(*fate) < Duration::from_millis(17)));
    // Wide apart, none waits for another: uniform, by its mean.
    let mut line = line();
    let alone: Vec<u64> = (0..10_000).map(|index| nanos(after(line.offer(&rules, index * 100 * MS, 100)))).collect();
    let mean = alone.iter().sum::<u64>() / 10_000;
    assert!(mean.abs_diff(20 * MS) < MS / 5, "{mean}");
    // More jitter than delay: at once, not earlier.
    let wild = Rules { delay: Duration::ZERO, jitter: Duration::from_millis(1), ..Rules::default() };
    assert!(fates(wild, 100).iter().any(|fate| after(*fate).is_zero()));
}

#[test]
fn who_is_held_back_is_overtaken_by_those_within_that_time() {
    let rules = Rules { reorder: Reorder { per_million: 50_000, by: Duration::from_millis(3) }, ..Rules::default() };
    let all = fates(rules, 1_000);
    let out = instants(&all);
    let is_held_back = |index: usize| matches!(all[index], Fate::Passes { held_back: true, .. });
    assert!((0..997).any(is_held_back));
    for index in 0..997 {
        let overtaken_by: Vec<usize> = (index + 1..1_000).filter(|&later| out[later] < out[index]).collect();
        // Those of the next 2 ms that are not held back themselves.
        let those: Vec<usize> = (index + 1..index + 3).filter(|&later| !is_held_back(later)).collect();
        assert_eq!(overtaken_by, if is_held_back(index) { those } else { Vec::new() }, "{index}");
    }
}

#[test]
fn a_rate_sends_so_much_and_its_queue_holds_so_much() {
    // 100 bytes take 1 ms; five fit in.
    let rate = Some(Rate { bits_per_second: 800_000, queue_bytes: 500 });
    let rules = Rules { rate, delay: Duration::ZERO, ..Rules::default() };
    let mut line = line();
    let at_once: Vec<Fate> = (0..7).map(|_| line.offer(&rules, 0, 100)).collect();
    let ms: Vec<u128> = at_once[..5].iter().map(|fate| after(*fate).as_millis()).collect();
    assert_eq!(ms, [1, 2, 3, 4, 5]);
    assert_eq!(at_once[5..], [Fate::Lost(Loss::QueueFull); 2]);
    // A millisecond later one has gone.
    assert_eq!(after(line.offer(&rules, MS, 100)).as_millis(), 5);
    assert_eq!(line.offer(&rules, MS, 100), Fate::Lost(Loss::QueueFull));
    // When it has been idle, nothing was saved up.
    assert_eq!(after(line.offer(&rules, 1_000 * MS, 100)).as_millis(), 1);
    let none = Rules { rate: Some(Rate { bits_per_second: 0, queue_bytes: 500 }), ..Rules::default() };
    assert_eq!(line.offer(&none, 0, 100), Fate::Lost(Loss::QueueFull));
}

#[test]
fn a_flipped_bit_is_one_and_behind_the_addresses() {
    for drawn in [0, u64::MAX, u64::MAX / 3, 1 << 40] {
        let mut frame = [0u8; 64];
        flip(&mut frame, drawn);
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert_eq!(frame[..12], [0; 12]);
    }
    let mut short = [0u8; 12];
    flip(&mut short, 5);
    assert_eq!(short, [0; 12]);
}

/// No checksum would notice (RFC 8200): the hop limit among them.
#[test]
fn what_no_checksum_covers_of_ipv6_is_left_alone() {
    for (place, l3) in [(12, 14), (28, 30)] {
        let mut seen = [0u32; 100];
        for step in 0..20_000u64 {
            let mut frame = [0u8; 100];
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            frame[place..place + 2].copy_from_slice(&[0x86, 0xdd]);
            let before = frame;
            flip(&mut frame, step * (u64::MAX / 20_000));
            (0..100).filter(|&at| frame[at] != before[at]).for_each(|at| seen[at] += 1);
        }
        for (at, &flips) in seen.iter().enumerate() {
            let spared = at < 12 || (l3..l3 + 8).contains(&at);
            assert_eq!(flips == 0, spared, "byte {at}: {flips}");
        }
        assert_eq!(seen.iter().sum::<u32>(), 20_000);
    }
    // Too short to have more than that.
    let mut short = [0u8; 22];
    short[12..14].copy_from_slice(&[0x86, 0xdd]);
    flip(&mut short, u64::MAX);
    assert_ne!(short[12..], [0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    /// A packet may pass corrupting cables again and again: the sum of RFC 1071 never comes out as it was.
    #[test]
    fn flips_never_cancel(
        frame in proptest::collection::vec(any::<u8>(), 60..200),
        drawn in proptest::collection::vec(any::<u64>(), 1..16),
    ) {
        let sum = |frame: &[u8]| {
            let words = frame[12..].chunks(2).map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| low.into()));
            words.sum::<u64>() % 0xffff
        };
        let mut after = frame.clone();
        drawn.iter().for_each(|&drawn| flip(&mut after, drawn));
        let set = after.iter().zip(&frame).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        prop_assert_eq!(set as usize, drawn.len());
        prop_assert_ne!(sum(&after), sum(&frame));
    }
}

#[test]
fn what_is_lost_depends_on_seed_cable_and_direction() {
    let of = |seed, cable, direction| -> Vec<Fate> {
        let mut line = Line::new(seed, cable, direction);
        (0..1_000).map(|_| line.offer(&Rules::loss(50_000), 0, 100)).collect()
    };
    let base = of(7, 0, Direction::ToB);
    assert_eq!(base, of(7, 0, Direction::ToB));
    for other in [of(8, 0, Direction::ToB), of(7, 1, Direction::ToB), of(7, 0, Direction::ToA)] {
        assert_ne!(base, other);
    }
}

#[test]
fn the_drawn_numbers_never_change() {
    // Recorded runs are recomputed from them: a change here makes every old ledger wrong.
    let draws = Draws { seed: 1, cable: 2, direction: Direction::ToB };
    let of = |what| (0..4).map(|index| draws.below(index, what, 1_000_000)).collect::<Vec<u64>>();
    assert_eq!(of(What::Loss), [538_083, 611_097, 944_272, 177_486]);
    assert_eq!(of(What::Duplicate), [994_783, 128_400, 708_406, 500_273]);
    assert_eq!(of(What::Bit), [408_039, 758_181, 937_612, 668_867]);
    assert_ne!(of(What::Duplicate), of(What::Loss));
    assert_ne!(of(What::Duplicate), of(What::Corrupt));
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let ms = |limit: u64| (0..limit).prop_map(Duration::from_millis);
    let burst = proptest::option::of((0u32..50_000, 1u32..1_000_000).prop_map(|(enter, leave)| Burst { enter, leave }));
    let rate = proptest::option::of(
        (8_000u64..10_000_000, 0u32..5_000)
            .prop_map(|(bits_per_second, queue_bytes)| Rate { bits_per_second, queue_bytes }),
    );
    let reorder = (0u32..200_000, ms(20)).prop_map(|(per_million, by)| Reorder { per_million, by });
    let shares = (0u32..200_000, 0u32..200_000, 0u32..200_000, 0u32..200_000);
    (proptest::bool::weighted(0.1), shares, burst, rate, ms(50), ms(50), reorder).prop_map(
        |(cut, (loss, duplicate, corrupt, truncate), burst, rate, delay, jitter, reorder)| Rules {
            cut,
            loss,
            burst,
            rate,
            delay,
            jitter,
            reorder,
            duplicate,
            corrupt,
            truncate,
        },
    )
}

proptest! {
    #[test]
    fn a_higher_loss_loses_all_that_a_lower_one_does(low in 0u32..1_000_000, more in 0u32..1_000_000) {
        let high = (low + more).min(1_000_000);
        let (low, high) = (fates(Rules::loss(low), 64), fates(Rules::loss(high), 64));
        let high = lost(&high);
        prop_assert!(lost(&low).iter().all(|index| high.contains(index)));
    }

    /// What depends on the index alone is the same whatever time and the other rules do.
    #[test]
    fn one_rule_does_not_shift_another(rules in any_rules(), gaps in proptest::collection::vec(0u64..5 * MS, 1..200)) {
        let alone = Rules { loss: rules.loss, duplicate: rules.duplicate, corrupt: rules.corrupt, ..Rules::default() };
        let (mut all, mut some) = (line(), line());
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let (all, some) = (all.offer(&rules, now, 100), some.offer(&alone, 0, 1_500));
            match (all, some) {
                (Fate::Passes { twice, corrupt, .. }, Fate::Passes { twice: other, corrupt: bit, .. }) => {
                    prop_assert_eq!((twice, corrupt), (other, bit));
                }
                (Fate::Passes { .. }, Fate::Lost(_)) => prop_assert!(false, "not lost beside others"),
                (Fate::Lost(Loss::Random), other) => prop_assert_eq!(other, Fate::Lost(Loss::Random)),
                (Fate::Lost(_), _) => {}
            }
        }
    }

    /// Nobody but who is held back is overtaken, and a queue is never longer than its rate needs to empty it.
    #[test]
    fn order_and_delay_hold_under_any_rules(rules in any_rules(), gaps in proptest::collection::vec(0u64..5 * MS, 1..200)) {
        let mut line = line();
        let (mut now, mut last) = (0, 0);
        for gap in gaps {
            now += gap;
            let Fate::Passes { after, held_back, .. } = line.offer(&rules, now, 100) else { continue };
            let out = now + nanos(after);
            if !held_back {
                prop_assert!(out >= last);
                last = out;
            }
            let queue = rules.rate.map_or(0.0, |rate| f64::from(rate.queue_bytes) * 8e9 / rate.bits_per_second as f64);
            let a_byte = rules.rate.map_or(0.0, |rate| 8e9 / rate.bits_per_second as f64);
            let most = queue + a_byte + nanos(rules.delay + rules.jitter + rules.reorder.by) as f64 + 2.0;
            prop_assert!((nanos(after) as f64) <= most, "{after:?} of {most}");
        }
    }

    #[test]
    fn the_worse_of_two_is_worse_than_either(one in any_rules(), other in any_rules()) {
        let both = one.worse(other);
        prop_assert!(both.cut >= one.cut && both.loss >= one.loss && both.delay >= other.delay);
        prop_assert_eq!(one.worse(Rules { delay: Duration::ZERO, ..Rules::default() }), one);
    }
}
