//! A pass over everything that a store holds, beside whoever runs the machine: every object against its id, every batch against the next.
//!
//! It reads in slices, each a read transaction of its own and soon over, so that no page is kept from being reused for long; between two slices
//! its caller makes it wait. What the whole is not asked for here, such as whether everything an image needs is there, `abide verify` finds.

use std::ops::ControlFlow;

use seed::record::Batch;
use seed::{Domain, Id};

use crate::objects::unframe;
use crate::store::lmdb::LmdbStore;
use crate::store::{Reader, Store, StoreError, Table};
use crate::verify::verify_object;

/// A slice ends with the entry that goes beyond this.
const SLICE_BYTES: u64 = 512 << 10;
const SLICE_ENTRIES: u64 = 256;

/// How far a pass is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Entries checked.
    pub done: u64,
    /// Entries that there were when it began.
    pub total: u64,
    /// Bytes read in the last slice.
    pub bytes: u64,
}

/// What is told of a pass.
pub enum News {
    /// A slice is done.
    Slice(Pass),
    /// Something is damaged.
    Found(String),
}

/// Checks everything once. It ends early if `tell` says so.
///
/// # Errors
/// If the store itself cannot be read.
pub fn scrub(store: &LmdbStore, tell: &mut dyn FnMut(News) -> ControlFlow<()>) -> Result<(), StoreError> {
    let entries = store.usage()?.entries;
    let total = [Table::Log, Table::Objects].iter().map(|table| entries[table.index()]).sum();
    let mut pass = Pass { total, ..Pass::default() };
    let mut last: Option<(Vec<u8>, Batch, Id)> = None;
    let batches = slices(store, Table::Log, &mut pass, tell, &mut |key, frame| {
        let found = verify_batch(key, frame, last.as_ref());
        last = found.as_ref().ok().map(|(batch, id)| (key.to_vec(), batch.clone(), *id));
        found.err()
    })?;
    if batches.is_break() {
        return Ok(());
    }
    slices(store, Table::Objects, &mut pass, tell, &mut |key, frame| {
        let shown = || key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        verify_object(key, frame).err().map(|why| format!("object {} is damaged: {why}", shown()))
    })
    .map(drop)
}

type Check<'c> = dyn FnMut(&[u8], &[u8]) -> Option<String> + 'c;

fn slices(
    store: &LmdbStore,
    table: Table,
    pass: &mut Pass,
    tell: &mut dyn FnMut(News) -> ControlFlow<()>,
    check: &mut Check<'_>,
) -> Result<ControlFlow<()>, StoreError> {
    let mut from = Vec::new();
    loop {
        let (mut bytes, mut entries, mut found) = (0, 0, Vec::new());
        let mut last = Vec::new();
        store.scan(table, &from, &mut |key, frame| {
            bytes += (key.len() + frame.len()) as u64;
            entries += 1;
            found.extend(check(key, frame));
            last = key.to_vec();
            if bytes < SLICE_BYTES && entries < SLICE_ENTRIES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        (pass.done, pass.bytes) = (pass.done + entries, bytes);
        for found in found {
            if tell(News::Found(found)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        // The machine may have added to what there was.
        pass.total = pass.total.max(pass.done);
        if tell(News::Slice(*pass)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if bytes < SLICE_BYTES && entries < SLICE_ENTRIES {
            return Ok(ControlFlow::Continue(()));
        }
        // The next key is this one and a zero, or after it.
        last.push(0);
        from = last;
    }
}

/// A batch, as long as the one before it is the one that it names and ends where it begins.
fn verify_batch(key: &[u8], frame: &[u8], last: Option<&(Vec<u8>, Batch, Id)>) -> Result<(Batch, Id), String> {
    let (branch, seq) = key.split_at(key.len().min(4));
    let seq = seq.iter().fold(0_u64, |seq, byte| seq << 8 | u64::from(*byte));
    let failed = |why: String| format!("the batch at seq {seq} is damaged: {why}");
    let encoding = unframe(Domain::Object, frame).map_err(|error| failed(error.to_string()))?;
    let batch = Batch::decode(&encoding).map_err(|error| failed(error.to_string()))?;
    if key.len() != 12 || batch.first.0 != seq {
        return Err(failed(format!("it is the one at seq {}", batch.first)));
    }
    if let Some((key, before, id)) = last
        && key.starts_with(branch)
        && (batch.previous != Some(*id) || before.end() != batch.first)
    {
        return Err(failed(format!("it does not follow on the one at seq {}", before.first)));
    }
    Ok((batch, Id::of(Domain::Object, &encoding)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Framer;
    use crate::store::Writes;
    use crate::store::lmdb::Options;

    /// The lines that a pass tells.
    fn told(store: &LmdbStore) -> (Vec<String>, Pass, u64) {
        let (mut found, mut last, mut slices) = (Vec::new(), Pass::default(), 0);
        scrub(store, &mut |news| {
            match news {
                News::Found(text) => found.push(text),
                News::Slice(pass) => (last, slices) = (pass, slices + 1),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        (found, last, slices)
    }

    #[test]
    fn every_object_is_looked_at_once_in_slices_and_damaged_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = LmdbStore::create(folder.path(), &Options { map_bytes: 1 << 26, readers: 8 }).unwrap();
        let framer = Framer::new().unwrap();
        let blob = |number: u32| seed::object::encode_blob(&number.to_le_bytes().repeat(1000));
        let mut writes = Writes::new();
        for number in 0..1000 {
            let bytes = blob(number);
            framer.put(&mut writes, Domain::Object, &Id::of(Domain::Object, &bytes), &bytes);
        }
        store.commit(&writes).unwrap();
        let (found, pass, slices) = told(&store);
        assert_eq!((found, pass.done, pass.total), (Vec::new(), 1000, 1000));
        assert!(slices >= 4, "{slices}");
        let wrong = Id::of(Domain::Object, &blob(7));
        let mut writes = Writes::new();
        framer.put(&mut writes, Domain::Object, &wrong, &blob(8));
        writes.put(Table::Log, vec![0; 12], b"nonsense".to_vec());
        store.commit(&writes).unwrap();
        let (found, pass, _) = told(&store);
        assert_eq!(pass.done, 1001);
        let [batch, object] = found.as_slice() else { panic!("{found:?}") };
        assert!(batch.starts_with("the batch at seq 0 is damaged: "), "{batch}");
        assert!(object.starts_with(&format!("object {wrong:x} is damaged: ")), "{object}");
    }
}
