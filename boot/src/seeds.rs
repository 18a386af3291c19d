//! What a machine can start from: seed files, modules and module text, all turned into packs.

use std::collections::HashMap;
use std::path::Path;

use seed::image::{INTERFACE, Limits, Program};
use seed::object::{Link, Objects, encode_blob};
use seed::{Domain, Id, LoadError, pack};

use crate::programs;
use crate::report::Failure;

/// The most that a seed may hold, in bytes: a machine of the largest size and its code.
pub const SEED_BYTES_MAX: u64 = 20 << 30;

/// What a module is to be booted with, besides itself.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// A file with genesis data.
    pub genesis: Option<&'a Path>,
    /// Ports asked for.
    pub asks: &'a [String],
    /// Limits other than the defaults.
    pub limits: &'a [(String, u64)],
}

impl Terms<'_> {
    /// Refuses terms for something that was made with terms of its own.
    ///
    /// # Errors
    /// If there are any.
    pub fn refuse_for(&self, path: &Path) -> Result<(), Failure> {
        let given = [
            (self.genesis.is_some(), "genesis data"),
            (!self.asks.is_empty(), "list of ports to ask for"),
            (!self.limits.is_empty(), "limits"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, what)) => Err(Failure::Settled { path: path.to_owned(), what }),
            None => Ok(()),
        }
    }
}

/// Reads a seed file, or makes a seed of a module. The bytes of a pack.
///
/// # Errors
/// If it is neither, or cannot be read.
pub fn read(path: &Path, terms: &Terms<'_>) -> Result<Vec<u8>, Failure> {
    let of_the_kernel = |genesis: &[u8], ports: &[String]| match terms.genesis {
        Some(_) => Err(Failure::Settled { path: path.to_owned(), what: "genesis data" }),
        None => pack_of(kernel::MODULE, genesis, &[terms.asks, ports].concat(), terms.limits),
    };
    if programs::is_text(path) {
        let (genesis, ports) = programs::of_text(path)?;
        return of_the_kernel(&genesis, &ports);
    }
    let bytes = read_file(path)?;
    if pack::is_pack(&bytes) {
        terms.refuse_for(path)?;
        return Ok(bytes);
    }
    if let Some(genesis) = programs::genesis_of_plan(path, &bytes) {
        return of_the_kernel(&genesis, &[]);
    }
    program_pack(&module(path, bytes)?, terms)
}

/// The module that a file holds, as binary or as text.
///
/// # Errors
/// If it holds none.
pub fn module(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.starts_with(b"\0asm") {
        Ok(bytes)
    } else if path.extension().is_some_and(|extension| extension == "wat") {
        let failed = |mut source: wat::Error| {
            source.set_path(path);
            Failure::Wat { path: path.to_owned(), source }
        };
        Ok(wat::parse_bytes(&bytes).map_err(failed)?.into_owned())
    } else {
        Err(Failure::NotASeed { path: path.to_owned() })
    }
}

/// The seed of a module, as a pack.
///
/// # Errors
/// If its genesis data cannot be read, or a limit is out of range.
pub fn program_pack(wasm: &[u8], terms: &Terms<'_>) -> Result<Vec<u8>, Failure> {
    let genesis = terms.genesis.map(read_file).transpose()?.unwrap_or_default();
    pack_of(wasm, &genesis, terms.asks, terms.limits)
}

fn pack_of(wasm: &[u8], genesis: &[u8], asks: &[String], given: &[(String, u64)]) -> Result<Vec<u8>, Failure> {
    let mut shelf = Shelf(HashMap::new());
    let code = shelf.keep(encode_blob(wasm));
    let genesis = shelf.keep(encode_blob(genesis));
    let mut asks = asks.to_vec();
    asks.sort();
    asks.dedup();
    let program = Program { interface: INTERFACE, code, genesis, limits: limits(given)?, asks };
    let root = shelf.keep(program.encode());
    Ok(pack::write((Domain::Object, root), &shelf, &|_| false, Vec::new())?)
}

fn limits(given: &[(String, u64)]) -> Result<Limits, Failure> {
    let mut values = Limits::default().values();
    for (name, value) in given {
        if let Some(position) = Limits::RANGES.iter().position(|range| range.name == name) {
            values[position] = *value;
        }
    }
    Limits::from_values(values).map_err(|name| {
        let position = Limits::RANGES.iter().position(|range| range.name == name).unwrap_or(0);
        let range = Limits::RANGES[position];
        Failure::Limit { name, value: values[position], min: range.min, max: range.max }
    })
}

/// The bytes of a file.
///
/// # Errors
/// If it cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
}

struct Shelf(HashMap<Link, Vec<u8>>);

impl Shelf {
    fn keep(&mut self, bytes: Vec<u8>) -> Id {
        let id = Id::of(Domain::Object, &bytes);
        self.0.insert((Domain::Object, id), bytes);
        id
    }
}

impl Objects for Shelf {
    fn load(&self, domain: Domain, id: &Id) -> Result<Vec<u8>, LoadError> {
        self.0.get(&(domain, *id)).cloned().ok_or(LoadError::Missing { domain, id: *id })
    }
}
