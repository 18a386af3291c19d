//! What the owner may look at.

use lang::Value;
use lang::eval::Root;
use lang::session::Session;
use lang::text::{Names, WIDTH, is_name, show, show_definitions};
use seed::cbor::Writer;

use crate::command::Command;
use crate::pace;
use crate::size::Sizes;
use crate::talk::{Program, key_of, sampled};

/// Names of self's table that are told, and their length.
const KEYS_MAX: usize = 1000;
const KEY_BYTES_MAX: usize = 64;

/// Something under way.
pub(crate) struct Job {
    pub(crate) what: String,
    pub(crate) steps: u64,
}

/// Not all that is in memory can be text.
fn within(sizes: &Sizes) -> Result<(), String> {
    if sizes.is_within() { Ok(()) } else { Err(too_large()) }
}

fn too_large() -> String {
    format!(
        "as text this would be larger than the {} MiB that there is room for: look at a part of it, or at self in brief",
        pace::OUTPUT_BYTES_MAX >> 20
    )
}

/// What can be looked at.
pub(crate) struct View<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) program: &'a Program,
    pub(crate) state: Root,
    pub(crate) budget: u64,
    pub(crate) jobs: Vec<Job>,
}

impl View<'_> {
    /// The answer to a command that changes nothing, or why there is none.
    pub(crate) fn answer(&mut self, command: &Command) -> Result<Vec<u8>, String> {
        let mut writer = Writer::new();
        match command {
            Command::Names => {
                let names = self.names();
                writer.array(names.len());
                for name in &names {
                    writer.text(name);
                }
            }
            Command::Source { name } => drop(writer.text(&self.source(name)?)),
            Command::Show { depth } => drop(writer.text(&self.show(*depth)?)),
            Command::State { width, depth } => {
                let names = self.session.names();
                writer.text(&sampled(self.state, &names, self.session, *width, *depth));
            }
            Command::Jobs => {
                writer.array(self.jobs.len());
                for job in &self.jobs {
                    writer.array(3).text(&job.what).uint(job.steps).uint(self.budget);
                }
            }
            Command::Eval { .. } | Command::Load { .. } => return Err("this is a message's, and no query's".to_owned()),
        }
        let answer = writer.finish();
        if answer.len() > pace::OUTPUT_BYTES_MAX { Err(too_large()) } else { Ok(answer) }
    }

    /// All that can be named: definitions, entries of self, self.
    fn names(&mut self) -> Vec<String> {
        let mut names: Vec<String> = self.session.environment().iter().map(|(name, _)| name.to_owned()).collect();
        let keys = self.session.machine().table_names(self.state, KEY_BYTES_MAX, KEYS_MAX);
        names.extend(keys.iter().filter_map(|key| match key {
            Value::Nat(key) => lang::text::symbol_of(key),
            key => String::from_utf8(key.as_bar()?).ok().filter(|name| is_name(name)),
        }));
        names.push("self".to_owned());
        names.sort();
        names.dedup();
        names
    }

    fn source(&mut self, name: &str) -> Result<String, String> {
        if let Some(value) = self.session.environment().get(name) {
            let names = self.session.environment().iter().filter(|(_, other)| *other != value);
            let mut sizes = Sizes::new(names);
            sizes.define(name, value);
            within(&sizes)?;
            let definition = [(name.to_owned(), value.clone())];
            return Ok(show_definitions(&definition, &self.session.names_but(name), WIDTH));
        }
        let machine = self.session.machine();
        let root = match name {
            "self" => Some(machine.share(self.state)),
            name => {
                let key = key_of(machine, self.state, name);
                machine.table_get(self.state, &key)
            }
        };
        let root = root.ok_or_else(|| format!("nothing is named {name}"))?;
        let value = machine.read_within(root, pace::NAMED_PARTS_MAX);
        machine.release(root);
        let value = value.map_err(|error| error.to_string())?;
        let mut sizes = Sizes::new(self.session.environment().iter());
        sizes.value(&value);
        within(&sizes)?;
        Ok(show(&value, &self.session.names(), WIDTH))
    }

    /// The definitions of the program, and then self.
    fn show(&mut self, depth: usize) -> Result<String, String> {
        let mut names = Names::default();
        self.session.base().iter().for_each(|(name, value)| names.add(name, value));
        let mut definitions = self.program.definitions.clone();
        definitions.retain(|(name, _)| name != "self");
        let mut sizes = Sizes::new(self.session.base().iter());
        definitions.iter().for_each(|(name, value)| sizes.define(name, value));
        within(&sizes)?;
        if depth == 0 {
            let state = self.session.machine().read_within(self.state, pace::NAMED_PARTS_MAX);
            let state = state.map_err(|error| format!("self cannot be shown whole: {error}"))?;
            sizes.define("self", &state);
            within(&sizes)?;
            definitions.push(("self".to_owned(), state));
            return Ok(show_definitions(&definitions, &names, WIDTH));
        }
        let text = show_definitions(&definitions, &names, WIDTH);
        self.program.definitions.iter().for_each(|(name, value)| names.add(name, value));
        let state = sampled(self.state, &names, self.session, WIDTH, depth);
        Ok(format!("{text}(def self\n  {})\n", state.replace('\n', "\n  ")))
    }
}
