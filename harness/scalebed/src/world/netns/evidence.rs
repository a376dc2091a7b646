//! What a run in namespaces leaves to the judge beside taps: ledger, the generator's account, nodes' own accounts.

use std::collections::BTreeMap;

use scalebed_netns::Taps;
use scalebed_record::traffic::GeneratorReport;
use scalebed_record::{Entry, Fact, TapId};

use super::{Netns, PROCESS_LIMIT, broke, counters};
use crate::exit::Failure;
use crate::world::World as _;

impl Netns {
    /// The ledger: what each end put in since the taps were opened, and what the tap at the other end got out.
    pub(super) fn ledger(&mut self) -> Result<Vec<Entry>, Failure> {
        let mut sent: BTreeMap<(usize, String), u64> = BTreeMap::new();
        for (node, ns) in &self.namespaces {
            for (interface, packets) in counters(&self.sandbox, *ns)? {
                let base = self.before[node].get(&interface).copied().unwrap_or(0);
                sent.insert((*node, interface), packets - base);
            }
        }
        let stats = self.taps.take().map(Taps::stop).transpose().map_err(|error| broke(&format!("taps: {error}")))?;
        let stats = stats.unwrap_or_default();
        let at = self.now();
        let put_in = |node: u16, port: u16| {
            let node = usize::from(node);
            let name = self.lab.nodes[node].ports[usize::from(port)].name.clone();
            sent.get(&(node, name)).copied().unwrap_or(0)
        };
        let got_out = |tap: TapId| stats.frames.get(&tap.0).copied().unwrap_or(0);
        let mut entries: Vec<Entry> = (0u16..)
            .zip(&self.lab.cables)
            .map(|(cable, ends)| Entry {
                at,
                fact: Fact::Ledger {
                    cable,
                    put_in_a: put_in(ends.a.node, ends.a.port),
                    got_out_b: got_out(TapId::new(cable, true)),
                    put_in_b: put_in(ends.b.node, ends.b.port),
                    got_out_a: got_out(TapId::new(cable, false)),
                },
            })
            .collect();
        entries.push(Entry { at, fact: Fact::TapDrops { frames: stats.drops.values().sum() } });
        Ok(entries)
    }

    /// Ends the generator and reads its account.
    pub(super) fn generator_report(&mut self) -> Result<Option<GeneratorReport>, Failure> {
        let Some(mut process) = self.generator.take() else { return Ok(None) };
        if process.exited().is_none() {
            process.terminate().map_err(|error| broke(&format!("generator: {error}")))?;
        }
        process.wait(PROCESS_LIMIT).map_err(|error| broke(&format!("generator: {error}")))?;
        let path = self.folder.join("generator.json");
        // Interrupted before it had begun it leaves no account, and the judge says so.
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|error| broke(&format!("{}: {error}", path.display())))?;
        // The file is made before the first packet, the account after the last.
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|error| broke(&format!("{}: {error}", path.display())))
    }

    /// Every running node's own account, over its control socket.
    pub(super) fn accounts(&mut self) -> Vec<Entry> {
        let at = self.now();
        let mut entries = Vec::new();
        for node in self.running.keys() {
            let name = self.lab.nodes[*node].name.clone();
            let folder = self.folder.join("nodes").join(&name);
            match self.status(*node) {
                Ok(status) => {
                    let _best_effort = std::fs::write(
                        folder.join("status.json"),
                        serde_json::to_string_pretty(&status).unwrap_or_default(),
                    );
                    let fact = Fact::Counters { node: name, drops: status.drops, counters: status.counters };
                    entries.push(Entry { at, fact });
                }
                Err(error) => {
                    entries.push(Entry { at, fact: Fact::Note(format!("{name} gave no status: {error}")) });
                }
            }
        }
        entries
    }
}
