//! Events become matrices, as a flawless agreement would make them.

use std::collections::BTreeMap;

use scalebed_frame::control::{Admitted, Assignment, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId, NodeId};
use scalebed_record::history::Heard;
use scalebed_record::{Entry, Fact, History};
use scalebed_topologies::Lab;
use scalebed_topologies::scenario::{Action, Target};

use super::{Cluster, GAP, JOIN, MS, Reign, START, WARM_UP};

impl Cluster {
    /// Events to matrices.
    pub(super) fn rule(&mut self, history: &mut History) {
        let present: Vec<usize> =
            (0..self.members.len()).filter(|index| !self.scenario.absent.contains(&self.members[*index])).collect();
        let generation = self.generation(1, present[0]);
        let buckets = (0..usize::from(self.lab.group.buckets)).map(|bucket| {
            let n = present.len();
            let place = bucket % n;
            let backup = (place + 1 + bucket / n % (n - 1)) % n;
            let (owner, backup) = (self.members[present[place]], Some(self.members[present[backup]]));
            Assignment { owner, backup, moved: generation, previous: None }
        });
        let admitted: Vec<Admitted> =
            present.iter().map(|&i| Admitted { member: self.members[i], incarnation: Incarnation(1) }).collect();
        let matrix = Matrix { generation, admitted, orchestrators: Vec::new(), buckets: buckets.collect() };
        self.reigns.push(Reign { at: START - 5_000 * MS, matrix, pivot: present[0] });
        let events = self.scenario.events.clone();
        for (index, event) in (0..).zip(&events) {
            let at = START + WARM_UP + event.at_ms * MS;
            let (node, text) = self.happen(at, &event.action);
            let fact = Fact::Operation {
                event: Some(index),
                text,
                node,
                before: at,
                after: at + 50_000,
                proof: String::new(),
            };
            history.entries.push(Entry { at, fact });
        }
        for reign in &self.reigns {
            let at = reign.at - 5 * MS;
            history.entries.push(Entry { at, fact: Fact::Heard(Heard::Matrix(reign.matrix.clone())) });
        }
    }

    fn happen(&mut self, at: u64, action: &Action) -> (String, String) {
        let name = |lab: &Lab, id: NodeId| lab.by_id(id).map(|(_, node)| node.name.clone()).unwrap();
        let resolve = |cluster: &Self, target: &Target| match target {
            Target::Member(member) => NodeId::Member(*member),
            Target::Mho(mho) => NodeId::Mho(*mho),
            Target::Smo => NodeId::Member(cluster.members[cluster.reigns.last().unwrap().pivot]),
            Target::HostsOwner => panic!("no hosts here"),
            Target::LastVictim => NodeId::Member(cluster.members[cluster.out.unwrap().0]),
        };
        let (verb, id) = match action {
            Action::Kill(target) | Action::Hang { target, units: 3.. } => {
                let id = resolve(self, target);
                let index = self.members.iter().position(|one| Some(*one) == id.member()).unwrap();
                self.out = Some((index, at, u64::MAX));
                self.lose(at + GAP, index);
                if let Action::Hang { units, .. } = action {
                    self.join(at + u64::from(*units) * 100 * MS + JOIN, index);
                }
                ("kill", id)
            }
            Action::Start(target) => {
                let id = resolve(self, target);
                if let Some(member) = id.member() {
                    let index = self.members.iter().position(|one| *one == member).unwrap();
                    self.join(at + JOIN, index);
                } else {
                    self.lead_back(at + JOIN);
                }
                ("start", id)
            }
            Action::PowerOff(target) => {
                let id = resolve(self, target);
                self.leg = id.mho().map(|mho| (mho, None, at, u64::MAX));
                ("power off", id)
            }
            Action::Hang { target, .. } => ("hang", resolve(self, target)),
            Action::DownlinkDown { member, mho } => {
                self.leg = Some((*mho, Some(self.index(*member)), at, u64::MAX));
                ("pull", (*member).into())
            }
            Action::Fault(_) => panic!("no cable of these clusters is broken"),
            Action::DownlinkUp { member, .. } => {
                self.leg.as_mut().unwrap().3 = at;
                ("mend", (*member).into())
            }
        };
        let node = name(&self.lab, id);
        (node.clone(), format!("{verb} {node}"))
    }

    fn generation(&self, counter: u32, author: usize) -> Generation {
        Generation { counter, author: self.members[author], incarnation: Incarnation(1) }
    }

    fn lose(&mut self, at: u64, gone: usize) {
        let Reign { mut matrix, mut pivot, .. } = self.reigns.last().unwrap().clone();
        matrix.admitted.retain(|one| one.member != self.members[gone]);
        if pivot == gone {
            pivot = self.members.iter().position(|one| *one == matrix.admitted[0].member).unwrap();
        }
        matrix.generation = self.generation(matrix.generation.counter + 1, pivot);
        let lives: Vec<MemberId> = matrix.admitted.iter().map(|one| one.member).collect();
        for bucket in &mut matrix.buckets {
            if bucket.owner == self.members[gone] {
                bucket.owner = bucket.backup.unwrap();
                bucket.moved = matrix.generation;
            }
            bucket.backup = lives.iter().copied().find(|one| *one != bucket.owner);
        }
        self.reigns.push(Reign { at, matrix, pivot });
    }

    fn join(&mut self, at: u64, index: usize) {
        let Reign { mut matrix, pivot, .. } = self.reigns.last().unwrap().clone();
        let lives = if self.out.is_some() { 2 } else { 1 };
        matrix.admitted.push(Admitted { member: self.members[index], incarnation: Incarnation(lives) });
        matrix.admitted.sort();
        matrix.generation = self.generation(matrix.generation.counter + 1, pivot);
        let n = matrix.admitted.len();
        let total = matrix.buckets.len();
        let mut counts: BTreeMap<MemberId, usize> = BTreeMap::new();
        matrix.buckets.iter().for_each(|bucket| *counts.entry(bucket.owner).or_default() += 1);
        let mut wanted = total / n;
        for bucket in &mut matrix.buckets {
            let most = counts.values().copied().max().unwrap();
            if wanted > 0 && counts[&bucket.owner] == most {
                *counts.get_mut(&bucket.owner).unwrap() -= 1;
                wanted -= 1;
                let previous = Some(bucket.owner);
                *bucket =
                    Assignment { owner: self.members[index], backup: previous, moved: matrix.generation, previous };
            }
        }
        if let Some(out) = &mut self.out {
            out.2 = at;
        }
        self.reigns.push(Reign { at, matrix, pivot });
    }

    /// An orchestrator's return is a generation with the same owners.
    fn lead_back(&mut self, at: u64) {
        let Reign { mut matrix, pivot, .. } = self.reigns.last().unwrap().clone();
        matrix.generation = self.generation(matrix.generation.counter + 1, pivot);
        self.leg.as_mut().unwrap().3 = at;
        self.reigns.push(Reign { at, matrix, pivot });
    }
}
