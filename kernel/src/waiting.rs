//! What waits for the program: in order, and no more than there is memory for.

use std::collections::VecDeque;

use seed::RequestId;

use crate::happening::Happening;
use crate::pace;

/// A queue that knows how large it is.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    all: VecDeque<Happening>,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether this may wait, too.
    pub(crate) fn has_room(&self, happening: &Happening) -> bool {
        self.bytes.saturating_add(happening.bytes()) <= pace::WAITING_BYTES_MAX
    }

    /// After all that waits. It is for the caller to ask whether there is room: some of it has to be told.
    pub(crate) fn push(&mut self, happening: Happening) {
        self.bytes = self.bytes.saturating_add(happening.bytes());
        self.all.push_back(happening);
    }

    /// Before all that waits, but that a program hears first that it was loaded.
    pub(crate) fn push_first(&mut self, happening: Happening) {
        let is_loaded = |happening: &Happening| matches!(happening, Happening::Loaded { .. });
        let is_before = |other: &&Happening| is_loaded(other) && !is_loaded(&happening);
        let index = self.all.iter().take_while(is_before).count();
        self.bytes = self.bytes.saturating_add(happening.bytes());
        self.all.insert(index, happening);
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<Happening> {
        let happening = self.all.pop_front()?;
        self.bytes = self.bytes.saturating_sub(happening.bytes());
        Some(happening)
    }

    /// What is about one of these requests does not wait any more.
    pub(crate) fn forget(&mut self, requests: &[RequestId]) {
        self.all.retain(|happening| happening.request().is_none_or(|request| !requests.contains(&request)));
        self.bytes = self.all.iter().map(Happening::bytes).sum();
    }

    /// Nothing waits any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use seed::message::Code;
    use seed::{PortId, ReplyId};

    use super::*;

    fn message(from: usize, payload: usize) -> Happening {
        let (from, payload) = (vec![0; from], vec![0; payload]);
        Happening::Message { port: PortId(4), from, reply: ReplyId::NONE, payload }
    }

    #[test]
    fn everything_takes_room_and_gives_it_back() {
        let mut waiting = Waiting::default();
        let mut count = 0;
        while waiting.has_room(&message(0, 0)) {
            waiting.push(message(0, 0));
            count += 1;
        }
        assert!(count > 100_000 && count < 10_000_000, "{count} messages of no bytes");
        while waiting.pop().is_some() {}
        assert_eq!(waiting.bytes, 0);
        for (from, payload) in [(1 << 20, 0), (0, 1 << 20)] {
            while waiting.has_room(&message(from, payload)) {
                waiting.push(message(from, payload));
            }
            assert_eq!(waiting.all.len(), 63);
            waiting.clear();
        }
        let answer = |request| Happening::Answer { request: RequestId(request), more: true, payload: vec![0; 1 << 20] };
        (0..100).for_each(|request| waiting.push(answer(request % 2)));
        assert!(!waiting.has_room(&message(0, 0)));
        let text = "why".to_owned();
        waiting.push_first(Happening::Broken { request: RequestId(1), code: Code(2), text });
        waiting.forget(&[RequestId(1)]);
        assert_eq!(waiting.all.len(), 50);
        assert!(waiting.has_room(&message(0, 0)));
    }
}
