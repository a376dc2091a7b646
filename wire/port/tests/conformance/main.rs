//! One suite over every backend. What a backend says it lacks is skipped by name, after a look that it does.

mod bench;
mod checks;
mod faults;

use std::io;

use scalebed_port::{MemoryPort, PacketPort, PnetPort};

use bench::{Backend, in_namespace, until_through};

fn packet(test: &'static str, check: fn(&mut PacketPort, &mut PacketPort)) {
    joined(test, PacketPort::open, check);
}

fn pnet(test: &'static str, check: fn(&mut PnetPort, &mut PnetPort)) {
    joined(test, PnetPort::open, check);
}

/// Ports that have just been joined by a cable that carries frames both ways, with nothing counted yet.
fn joined<B: Backend + 'static>(test: &'static str, open: fn(&str) -> io::Result<B>, check: fn(&mut B, &mut B)) {
    in_namespace(test, move || {
        let both = || (open("port-a").expect("port-a"), open("port-b").expect("port-b"));
        let (mut a, mut b) = both();
        until_through(&mut a, &mut b);
        until_through(&mut b, &mut a);
        drop((a, b));
        let (mut a, mut b) = both();
        check(&mut a, &mut b);
    });
}

fn memory(_: &'static str, check: fn(&mut MemoryPort, &mut MemoryPort)) {
    let (mut a, mut b) = MemoryPort::pair();
    check(&mut a, &mut b);
}

macro_rules! suite {
    ($($test:ident: $backend:ident $module:ident::$check:ident;)*) => {
        $(#[test] fn $test() { $backend(stringify!($test), $module::$check); })*
    };
}

suite! {
    memory_frames_of_every_length_arrive_whole_and_in_order: memory checks::every_length;
    netns_packet_frames_of_every_length_arrive_whole_and_in_order: packet checks::every_length;
    netns_pnet_frames_of_every_length_arrive_whole_and_in_order: pnet checks::every_length;

    memory_more_than_a_batch_arrives_in_order: memory checks::more_than_a_batch;
    netns_packet_more_than_a_batch_arrives_in_order: packet checks::more_than_a_batch;
    netns_pnet_more_than_a_batch_arrives_in_order: pnet checks::more_than_a_batch;

    memory_nothing_of_ones_own_comes_back: memory checks::no_echo;
    netns_packet_nothing_of_ones_own_comes_back: packet checks::no_echo;
    netns_pnet_nothing_of_ones_own_comes_back: pnet checks::no_echo;

    memory_stamps_are_of_the_arrival: memory checks::stamps;
    netns_packet_nothing_that_a_neighbour_sends_comes_back: packet faults::neighbour;

    netns_packet_stamps_are_of_the_arrival: packet checks::stamps;
    netns_pnet_stamps_are_of_the_arrival: pnet checks::stamps;

    memory_tags_survive: memory checks::tags;
    netns_packet_tags_survive: packet checks::tags;
    netns_pnet_tags_survive: pnet checks::tags;

    memory_a_full_queue_is_accounted_for: memory faults::full_memory;
    netns_packet_a_full_queue_is_accounted_for: packet faults::full_queue;

    netns_packet_a_frame_that_cannot_go_does_not_stop_the_others: packet faults::refused;
    netns_pnet_a_frame_that_cannot_go_does_not_stop_the_others: pnet faults::refused;
    netns_packet_a_frame_that_is_too_long_is_counted_and_not_cut: packet faults::too_long;
    netns_pnet_a_frame_that_is_too_long_is_counted_and_not_cut: pnet faults::too_long;
    netns_packet_a_port_outlives_its_link: packet faults::flap;
    netns_pnet_a_port_outlives_its_link: pnet faults::flap;
    netns_packet_a_frame_towards_a_port_that_is_down_is_taken_and_lost: packet faults::no_carrier;
    netns_pnet_a_frame_towards_a_port_that_is_down_is_taken_and_lost: pnet faults::no_carrier;
    netns_packet_the_first_frame_after_a_flap_goes: packet faults::stale_error;
    netns_packet_frames_for_any_address_come: packet faults::promiscuous;
}
