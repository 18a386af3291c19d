//! A memory as a map of cells, each for one page or a power of two of them: how many of its pages are not zero, and when one was written last.

use seed::PageIndex;
use serde_json::{Value as Json, json};

/// Cells of one memory: a memory of 4 GiB has 128 pages in each.
const CELLS_MAX: u64 = 8192;

/// A memory.
#[derive(Clone, Default)]
pub(super) struct Map {
    pages: u64,
    /// Pages to a cell, as bits.
    shift: u32,
    /// A bit for each page that is not zero.
    used: Vec<u64>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    used: u32,
    /// Milliseconds since the dashboard was opened; none before.
    written: Option<u64>,
    is_told: bool,
}

impl Map {
    /// A memory of so many pages, of which these are not zero.
    pub(super) fn of(pages: u64, used: &[PageIndex]) -> Self {
        let mut map = Self::default();
        map.grow(pages);
        for page in used {
            map.set(*page, true);
        }
        map.cells.iter_mut().for_each(|cell| cell.is_told = true);
        map
    }

    /// How many pages it has.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Makes it larger. Whether what was told of its cells is worth nothing now.
    pub(super) fn grow(&mut self, pages: u64) -> bool {
        if pages <= self.pages {
            return false;
        }
        self.pages = pages;
        while pages.div_ceil(1 << self.shift) > CELLS_MAX {
            self.shift += 1;
            self.cells = self.cells.chunks(2).map(merge).collect();
        }
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        self.used.resize(size(pages.div_ceil(64)), 0);
        self.cells.resize(size(pages.div_ceil(1 << self.shift)), Cell::default());
        true
    }

    /// A page has become another, at this time.
    pub(super) fn write(&mut self, page: PageIndex, is_zero: bool, now: u64) {
        self.set(page, !is_zero);
        if let Some(cell) = self.cells.get_mut(page.0 as usize >> self.shift) {
            cell.written = Some(now);
            cell.is_told = false;
        }
    }

    fn set(&mut self, page: PageIndex, is_used: bool) {
        let (Some(word), Some(cell)) =
            (self.used.get_mut(page.0 as usize / 64), self.cells.get_mut(page.0 as usize >> self.shift))
        else {
            return;
        };
        let bit = 1 << (page.0 % 64);
        match (*word & bit != 0, is_used) {
            (false, true) => cell.used += 1,
            (true, false) => cell.used -= 1,
            _ => {}
        }
        *word = if is_used { *word | bit } else { *word & !bit };
    }

    /// The cells that have changed since this was last asked: which, how many of its pages are not zero, for how long it was not written.
    pub(super) fn take_news(&mut self, now: u64) -> Vec<[u64; 3]> {
        let mut news = Vec::new();
        for (index, cell) in self.cells.iter_mut().enumerate().filter(|(_, cell)| !cell.is_told) {
            cell.is_told = true;
            let age = cell.written.map_or(0, |written| now.saturating_sub(written));
            news.push([index as u64, u64::from(cell.used), age]);
        }
        news
    }

    /// All of it. A cell that was not written since the dashboard was opened has no age.
    pub(super) fn json(&self, now: u64) -> Json {
        let age = |cell: &Cell| cell.written.map(|written| now.saturating_sub(written));
        json!({
            "pages": self.pages, "cell_pages": 1_u64 << self.shift, "used_pages": self.used_pages(),
            "used": self.cells.iter().map(|cell| cell.used).collect::<Vec<_>>(),
            "age_ms": self.cells.iter().map(age).collect::<Vec<_>>(),
        })
    }

    /// How many pages are not zero.
    pub(super) fn used_pages(&self) -> u64 {
        self.cells.iter().map(|cell| u64::from(cell.used)).sum()
    }
}

fn merge(cells: &[Cell]) -> Cell {
    cells.iter().fold(Cell { is_told: true, ..Cell::default() }, |sum, cell| Cell {
        used: sum.used + cell.used,
        written: sum.written.max(cell.written),
        is_told: sum.is_told && cell.is_told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_in_their_cells_however_a_memory_grows() {
        let mut map = Map::of(3, &[PageIndex(0), PageIndex(2)]);
        assert_eq!(map.json(5)["used"], json!([1, 0, 1]));
        assert_eq!(map.json(5)["age_ms"], json!([null, null, null]));
        assert!(map.take_news(5).is_empty());
        map.write(PageIndex(1), false, 10);
        map.write(PageIndex(1), false, 20);
        map.write(PageIndex(0), true, 20);
        assert_eq!(map.take_news(25), [[0, 0, 5], [1, 1, 5]]);
        assert!(map.take_news(25).is_empty());
        assert!(!map.grow(3) && map.grow(1 << 20));
        let shown = map.json(30);
        assert_eq!((&shown["cell_pages"], &shown["used_pages"]), (&json!(128), &json!(2)));
        assert_eq!(shown["used"].as_array().unwrap().len(), 8192);
        assert_eq!((&shown["used"][0], &shown["age_ms"][0]), (&json!(2), &json!(10)));
        map.write(PageIndex((1 << 20) - 1), false, 40);
        map.write(PageIndex(u32::MAX), false, 40);
        let news = map.take_news(40);
        assert_eq!(news.last(), Some(&[8191, 1, 0]));
        assert_eq!(map.used_pages(), 3);
    }
}
