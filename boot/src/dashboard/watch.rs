//! What is known of a machine that is watched: folded up batch by batch by whoever made it durable, and taken from there to be shown.
//!
//! Its lock is held for as long as it takes to add up one batch, or to copy what is to be shown, never while text is made or anybody is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use persist::branch::{Branch, Checkpoint};
use persist::journal::Commit;
use seed::image::Grant;
use seed::record::{Batch, Epoch, Record};
use seed::{Id, Nanos, PortId, RequestId, Seq};
use vm::step_loop::{Asked, Changes, Open, Stand, Written};

use super::figures::{Figures, Recent, Second};
use super::map::Map;
use super::rows::{Kept, Source};

/// Records of the log that are kept to be shown.
pub(crate) const RECORDS_MAX: usize = 200;
/// Bytes that these may take, besides the last batch.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Open requests that are shown: the first by their numbers.
const REQUESTS_SHOWN: usize = 64;
/// Open requests of which it is kept what they ask. A machine may have millions.
const REQUESTS_KEPT: usize = 4096;

/// What is known of a machine.
pub struct Watch {
    begun: Instant,
    seen: Mutex<Seen>,
}

/// What is noted of a batch when it is handed to be made durable.
pub struct Noted {
    changes: Box<Changes>,
    handed: Instant,
}

#[derive(Default)]
struct Seen {
    head: Option<Head>,
    kept: VecDeque<Kept>,
    kept_records: usize,
    kept_bytes: usize,
    requests: BTreeMap<RequestId, Opened>,
    is_request_news: bool,
    maps: Vec<Map>,
    is_map_news: bool,
    figures: Figures,
}

/// Where a machine durably stands.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) epoch: Epoch,
    pub(super) end: Seq,
    pub(super) root: Id,
    pub(super) batch: Id,
    pub(super) time: Nanos,
    pub(super) checkpoint: Checkpoint,
    /// When that was made; not known of one before the dashboard was opened.
    pub(super) checkpoint_time: Option<Nanos>,
    pub(super) code: Id,
    pub(super) grants: Vec<Grant>,
    pub(super) open: Open,
    pub(super) pages: u64,
    pub(super) used_pages: u64,
}

/// An open request, and the machine's time when it was made, unless that was before the dashboard was opened.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) asked: Asked,
    pub(super) since: Option<Nanos>,
}

/// What has changed since it was last taken, copied.
pub(super) struct News {
    pub(super) head: Option<Head>,
    pub(super) kept: VecDeque<Kept>,
    /// The first open requests, if any has changed.
    pub(super) requests: Option<Vec<(RequestId, Opened)>>,
    /// All maps, if there are others than before.
    pub(super) maps: Option<Vec<Map>>,
    /// For each map, the cells that have changed.
    pub(super) cells: Vec<Vec<[u64; 3]>>,
    pub(super) seconds: Vec<Second>,
    pub(super) recent: Recent,
}

/// Everything, copied.
pub(super) struct Whole {
    pub(super) head: Option<Head>,
    pub(super) requests: Vec<(RequestId, Opened)>,
    pub(super) maps: Vec<Map>,
    pub(super) figures: Figures,
}

impl Default for Watch {
    fn default() -> Self {
        Self { begun: Instant::now(), seen: Mutex::default() }
    }
}

impl Noted {
    /// A batch that is handed on now.
    #[must_use]
    pub fn now(changes: Box<Changes>) -> Self {
        Self { changes, handed: Instant::now() }
    }

    /// How long ago that was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.handed.elapsed()
    }
}

impl Watch {
    /// The machine is up, and stands here. `recent` are its last batches.
    pub(crate) fn begin(&self, branch: &Branch, code: Id, stand: Stand, recent: Vec<Batch>) {
        let maps: Vec<Map> = stand.memories.iter().map(|(pages, used)| Map::of(*pages, used)).collect();
        let mut seen = self.seen();
        seen.head = Some(Head {
            epoch: branch.epoch.clone(),
            end: branch.end,
            root: branch.root,
            batch: branch.batch,
            time: branch.time,
            checkpoint: branch.checkpoint,
            checkpoint_time: (branch.checkpoint.end == branch.end).then_some(branch.time),
            code,
            grants: stand.grants,
            open: stand.open,
            pages: maps.iter().map(Map::pages).sum(),
            used_pages: maps.iter().map(Map::used_pages).sum(),
        });
        for (number, asked) in stand.requests {
            seen.open(number, asked, None);
        }
        seen.is_request_news = true;
        seen.maps = maps;
        seen.is_map_news = true;
        for batch in recent {
            let is_checkpoint = batch.end() == branch.checkpoint.end;
            seen.keep(Kept { batch: Source::Read(batch), ports: Vec::new(), is_checkpoint });
        }
    }

    /// A batch has become durable.
    pub(crate) fn durable(&self, commit: Commit, noted: Noted, took: Duration, branch: &Branch) {
        let Changes { memories, pages, requests, open, code } = *noted.changes;
        let now = self.begun.elapsed();
        let mut seen = self.seen();
        seen.count(&commit, &pages, took, now.as_secs());
        let ports = seen.turn(requests, commit.batch.time);
        seen.write(&memories, &pages, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let Seen { head: Some(head), maps, .. } = &mut *seen else { return };
        if head.epoch.number != branch.epoch.number {
            head.epoch = branch.epoch.clone();
        }
        if head.checkpoint.end != branch.checkpoint.end {
            head.checkpoint_time = Some(branch.time);
        }
        (head.end, head.root, head.batch, head.time) = (branch.end, branch.root, branch.batch, branch.time);
        head.checkpoint = branch.checkpoint;
        (head.code, head.open) = (code, open);
        head.pages = maps.iter().map(Map::pages).sum();
        head.used_pages = maps.iter().map(Map::used_pages).sum();
        for record in &commit.batch.records {
            if let Record::Grant { grants, .. } = record {
                head.grants.clone_from(grants);
            }
        }
        let is_checkpoint = commit.checkpoint.is_some();
        // The objects of a checkpoint are not kept.
        seen.keep(Kept { batch: Source::Committed(commit.batch), ports, is_checkpoint });
    }

    /// What is new, figures from this second on.
    pub(super) fn take_news(&self, since: u64) -> News {
        let (at, now) = (self.second(), self.millis());
        let mut seen = self.seen();
        let is_map_news = std::mem::take(&mut seen.is_map_news);
        let cells = seen.maps.iter_mut().map(|map| map.take_news(now)).collect();
        News {
            head: seen.head.clone(),
            kept: seen.take_kept(),
            requests: std::mem::take(&mut seen.is_request_news).then(|| seen.first()),
            maps: is_map_news.then(|| seen.maps.clone()),
            cells,
            seconds: seen.figures.since(since),
            recent: seen.figures.recent(at),
        }
    }

    /// All there is, but for the log: news of that are taken once.
    pub(super) fn whole(&self) -> Whole {
        let seen = self.seen();
        Whole {
            head: seen.head.clone(),
            requests: seen.first(),
            maps: seen.maps.clone(),
            figures: seen.figures.clone(),
        }
    }

    /// Seconds since the dashboard was opened.
    pub(super) fn second(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// The same in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn count(&mut self, commit: &Commit, pages: &[Written], took: Duration, now: u64) {
        let second = self.figures.at(now);
        second.commits += 1;
        second.checkpoints += u64::from(commit.checkpoint.is_some());
        second.commit.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        second.pages += pages.len() as u64;
        second.bytes += commit.batch.encoding().len() as u64;
        second.records += commit.batch.records.len() as u64;
        for record in &commit.batch.records {
            match record {
                Record::Step { cost, .. } => {
                    second.steps += 1;
                    second.step.add(cost.0);
                }
                Record::Abort { cost, .. } => {
                    second.aborts += 1;
                    second.step.add(cost.0);
                }
                _ => {}
            }
            second.cost = second.cost.saturating_add(record.cost().0);
        }
    }

    /// Takes in which requests were opened and closed; the ports of those that were closed.
    fn turn(&mut self, requests: Vec<(RequestId, Option<Asked>)>, time: Nanos) -> Vec<(RequestId, PortId)> {
        self.is_request_news |= !requests.is_empty();
        let mut closed = Vec::new();
        for (number, asked) in requests {
            match asked {
                // One that is there is due to be broken now, and the same otherwise.
                Some(_) if self.requests.contains_key(&number) => {}
                Some(asked) => self.open(number, asked, Some(time)),
                None => closed.extend(self.requests.remove(&number).map(|opened| (number, opened.asked.port))),
            }
        }
        closed
    }

    fn open(&mut self, number: RequestId, mut asked: Asked, since: Option<Nanos>) {
        if self.requests.len() >= REQUESTS_KEPT {
            asked.payload = Vec::new();
        }
        self.requests.insert(number, Opened { asked, since });
    }

    fn write(&mut self, memories: &[u64], pages: &[Written], now: u64) {
        if self.maps.len() > memories.len() {
            // The machine has become another program, whose memories are others.
            self.maps.clear();
            self.is_map_news = true;
        }
        for (position, count) in memories.iter().enumerate() {
            if position == self.maps.len() {
                self.maps.push(Map::default());
                self.is_map_news = true;
            }
            if let Some(map) = self.maps.get_mut(position) {
                self.is_map_news |= map.grow(*count);
            }
        }
        for written in pages {
            if let Some(map) = self.maps.get_mut(written.memory) {
                map.write(written.page, written.is_zero, now);
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        self.kept_records += kept.records();
        self.kept_bytes += kept.bytes();
        self.kept.push_back(kept);
        while self.kept.len() > 1
            && let Some(first) = self.kept.front()
        {
            let rest = self.kept_records - first.records();
            if rest < RECORDS_MAX && self.kept_bytes <= KEPT_BYTES_MAX {
                break;
            }
            self.kept_records = rest;
            self.kept_bytes -= first.bytes();
            self.kept.pop_front();
        }
    }

    fn take_kept(&mut self) -> VecDeque<Kept> {
        (self.kept_records, self.kept_bytes) = (0, 0);
        std::mem::take(&mut self.kept)
    }

    fn first(&self) -> Vec<(RequestId, Opened)> {
        self.requests.iter().take(REQUESTS_SHOWN).map(|(number, opened)| (*number, opened.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use seed::record::OutputsHash;
    use seed::{Domain, PageIndex};

    use super::*;

    fn kept(first: u64, records: usize, bytes: usize) -> Kept {
        let id = Id::of(Domain::Object, b"x");
        let step = Record::Step { input: vec![0; bytes], cost: Nanos(1), key: Vec::new() };
        let batch = Batch {
            first: Seq(first),
            time: Nanos(0),
            records: vec![step; records],
            outputs: OutputsHash::default().finish(),
            root: id,
            previous: None,
        };
        Kept { batch: Source::Read(batch), ports: Vec::new(), is_checkpoint: false }
    }

    /// Nobody takes anything here, as where nobody looks.
    #[test]
    fn what_is_kept_of_a_log_is_bounded() {
        let mut seen = Seen::default();
        for number in 0..2000 {
            seen.keep(kept(number * 3, 3, 10));
            assert!(seen.kept_records < RECORDS_MAX + 3, "{}", seen.kept_records);
        }
        assert!(seen.kept_records >= RECORDS_MAX);
        assert_eq!(seen.kept.back().map(|kept| kept.batch.get().end()), Some(Seq(6000)));
        for number in 0..100 {
            seen.keep(kept(6000 + number, 1, 1 << 20));
            assert!(seen.kept_bytes <= KEPT_BYTES_MAX);
        }
        seen.keep(kept(7000, 1, KEPT_BYTES_MAX * 2));
        assert_eq!(seen.kept.len(), 1, "the last batch alone, whatever it has");
    }

    #[test]
    fn memories_of_another_program_are_other_memories() {
        let mut seen = Seen::default();
        let written = |page| Written { memory: 0, page: PageIndex(page), is_zero: false };
        seen.write(&[4], &[written(0), written(1)], 1);
        assert!(std::mem::take(&mut seen.is_map_news));
        seen.write(&[4], &[written(1)], 2);
        assert!(!seen.is_map_news && seen.maps[0].used_pages() == 2);
        seen.write(&[], &[], 3);
        seen.write(&[2], &[written(0)], 4);
        assert!(seen.is_map_news && seen.maps[0].used_pages() == 1);
    }

    #[test]
    fn what_is_kept_of_requests_is_bounded() {
        let mut seen = Seen::default();
        let asked = Asked { port: PortId(2), payload: vec![1; 512], bytes: 600 };
        let all = (1..=10_000).map(|number| (RequestId(number), Some(asked.clone()))).collect();
        assert!(seen.turn(all, Nanos(1)).is_empty());
        let kept: usize = seen.requests.values().map(|opened| opened.asked.payload.capacity()).sum();
        assert_eq!((seen.requests.len(), kept), (10_000, REQUESTS_KEPT * 512));
        let none = (1..=10_000).map(|number| (RequestId(number), None)).collect();
        assert_eq!(seen.turn(none, Nanos(2)).len(), 10_000);
        assert!(seen.requests.is_empty() && seen.is_request_news);
    }
}
