//! The command line, declared once: help, completions, manual pages and docs/cli.md are made from it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use seed::Seq;

use crate::ports::sockets::listening_address;

/// A machine that never stops existing.
#[derive(Debug, Parser)]
#[command(
    name = "abide",
    version,
    about = "Runs a program as a machine that never stops existing: kill it, copy its folder, start it, it goes on.",
    after_help = "First minute:\n  abide boot --start ./counter examples/counter/counter.wat\n  ^C or kill -9, any time; then\n  abide start ./counter\n\nExit codes: 0 ok, 1 failed, 2 usage, 3 damaged or diverged, 4 machine aborted and halted, 5 repaired but something is lost.\nEnvironment: NO_COLOR, ABIDE_LOG (for example ABIDE_LOG=debug), ABIDE_CACHE, ABIDE_TRACKER (write-protect, compare)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, grouped by task.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a machine from a seed and take its first step.
    Boot(Boot),
    /// Run a machine until interrupted; what was open goes on.
    Start(Start),
    /// Send one message to a machine and print its answer.
    Send(Send),
    /// Ask a machine something, now or as it once stood, without changing it.
    Peek(Peek),
    /// Talk to a machine: a line in, its answer out. Without a machine, evaluate what is typed.
    Repl(Repl),
    /// Write a program, or a machine as it stands, to a seed file.
    Save(Save),
    /// Show a seed, a program, a machine's image, an object or a log record as text.
    Show(Show),
    /// Grant ports to a machine, running or stopped: let it listen, and reach what is outside.
    Grant(Grant),
    /// Take granted ports away from a machine, running or stopped.
    Revoke(Revoke),
    /// Show where a machine stands.
    Status(Status),
    /// Show what entered a machine.
    Log(Log),
    /// Check a machine: its log's chain, and everything it needs.
    Verify(Verify),
    /// Make a damaged machine whole again, from older images, its log, or another copy.
    Repair(Repair),
    /// Copy a machine, stopped or running, as of one moment.
    Copy(Copy),
    /// Run a text of the language: hold it to its assertions, and print its values.
    Eval(Eval),
    /// Lay out texts of the language as everybody does.
    Fmt(Fmt),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
    /// Print docs/cli.md.
    #[command(hide = true)]
    Reference,
    /// Compile what comes on standard input, within limits.
    #[command(hide = true)]
    Compile,
    /// Check everything in a machine's store once, slowly.
    #[command(hide = true)]
    Scrub(Scrub),
}

impl Command {
    /// The machine that it reads or runs.
    #[must_use]
    pub fn machine(&self) -> Option<&Path> {
        match self {
            Self::Start(Start { machine, .. })
            | Self::Send(Send { machine, .. })
            | Self::Repl(Repl { machine: Some(machine), .. })
            | Self::Peek(Peek { machine, .. })
            | Self::Save(Save { source: machine, .. })
            | Self::Grant(Grant { machine, .. })
            | Self::Revoke(Revoke { machine, .. })
            | Self::Status(Status { machine, .. })
            | Self::Log(Log { machine, .. })
            | Self::Verify(Verify { machine, .. })
            | Self::Copy(Copy { machine, .. }) => Some(machine),
            Self::Show(show) => Some(show.point().0),
            Self::Boot(_)
            | Self::Repair(_)
            | Self::Repl(Repl { machine: None, .. })
            | Self::Eval(_)
            | Self::Fmt(_)
            | Self::Completions { .. }
            | Self::Man
            | Self::Reference
            | Self::Compile
            | Self::Scrub(_) => None,
        }
    }

    /// Whether a program reads what it has to say.
    #[must_use]
    pub fn is_json(&self) -> bool {
        match self {
            Self::Boot(Boot { json, .. })
            | Self::Send(Send { json, .. })
            | Self::Peek(Peek { json, .. })
            | Self::Save(Save { json, .. })
            | Self::Show(Show { json, .. })
            | Self::Grant(Grant { json, .. })
            | Self::Revoke(Revoke { json, .. })
            | Self::Status(Status { json, .. })
            | Self::Log(Log { json, .. })
            | Self::Verify(Verify { json, .. })
            | Self::Repair(Repair { json, .. })
            | Self::Eval(Eval { json, .. })
            | Self::Copy(Copy { json, .. }) => *json,
            Self::Scrub(_)
            | Self::Start(_)
            | Self::Repl(_)
            | Self::Fmt(_)
            | Self::Completions { .. }
            | Self::Man
            | Self::Reference
            | Self::Compile => false,
        }
    }
}

/// `abide boot`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide boot --start ./counter examples/counter/counter.abide\n  abide boot --start ./counter examples/counter/counter.wat"
)]
pub struct Boot {
    /// The folder to make.
    pub machine: PathBuf,
    /// What to start from: a .seed file, a .abide text, a PLAN seed, a .wasm module or .wat text.
    pub seed: PathBuf,
    /// Start it right away.
    #[arg(long)]
    pub start: bool,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "start")]
    pub json: bool,
    /// Grant a port that the seed asks for, such as http:8080, or a port that a saved machine had; see docs/ports.md.
    #[arg(long, value_name = "PORT")]
    pub grant: Vec<String>,
    /// Genesis data for a module: the bytes of a file.
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// A limit for a module, such as step_cpu_ms=500; see docs/abi.md.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub limit: Vec<(String, u64)>,
    /// How it runs, with --start.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Flags of every command that runs a machine.
#[derive(Debug, Clone, Copy, Args)]
pub struct RunFlags {
    /// Halt at the first step that is aborted.
    #[arg(long)]
    pub halt_on_abort: bool,
    /// How fast everything stored is checked in the background, over and over: MiB a second, or off.
    #[arg(long, value_name = "PACE", default_value = "4", value_parser = parse_pace)]
    pub scrub: u64,
    /// Show the machine as it runs, to this user's browser: at http://127.0.0.1:22433/, or at another port or address of this host.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = DASHBOARD, value_parser = parse_dashboard)]
    pub dashboard: Option<SocketAddr>,
}

/// `abide scrub`, which `abide start` runs.
#[derive(Debug, Args)]
pub struct Scrub {
    /// The machine.
    pub machine: PathBuf,
    /// MiB a second.
    #[arg(long)]
    pub pace: u64,
}

/// `abide start`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  abide start ./counter\n  abide start ./counter --dashboard")]
pub struct Start {
    /// The machine.
    pub machine: PathBuf,
    /// How it runs.
    #[command(flatten)]
    pub run: RunFlags,
}

/// `abide send`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  abide send ./notes 'put milk two litres'\n\nA stopped machine runs, with its ports, until the answer is durable."
)]
pub struct Send {
    /// The machine.
    pub machine: PathBuf,
    /// The message; read from standard input if it is -.
    pub payload: String,
    /// Up to 63 bytes that make sending again safe: the same key gets the recorded answer, not a second execution.
    #[arg(long, value_parser = parse_key)]
    pub key: Option<String>,
    /// Print the answer as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide peek`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide peek ./counter ''\n  abide peek ./counter '' --at 41    as it stood after the record with seq 41\n\nA running machine is asked where it runs, beside what it does: it answers as of its last commit, and with all that anybody was told before. Otherwise a copy is set up in\nthis process's memory, asked, and thrown away. Nothing is recorded. Machines answer queries or not, as they like: docs/abi.md."
)]
pub struct Peek {
    /// The machine.
    pub machine: PathBuf,
    /// The question; read from standard input if it is -.
    pub payload: String,
    /// As the machine stood after the record with this seq. Before its last checkpoint, everything is executed again from the start.
    #[arg(long, value_name = "SEQ")]
    pub at: Option<u64>,
    /// Print the answer as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide repl`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide repl ./notes\n  abide repl           no machine: > (add 2 (mul 3 100000000000000000000))\n\n^D, or the end of standard input, leaves."
)]
pub struct Repl {
    /// The machine.
    pub machine: Option<PathBuf>,
    /// Talk to a copy in memory of the machine as it stood after the record with this seq. Nothing of it is kept.
    #[arg(long, value_name = "SEQ", requires = "machine")]
    pub at: Option<u64>,
}

/// Kinds of seed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeedFormat {
    /// docs/format.md, Pack.
    Abide,
    /// A value, as Pallas writes it.
    Plan,
}

/// `abide save`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide save counter.seed examples/counter/counter.wat\n  abide save today.seed ./notes\n  abide save counter.plan examples/counter/counter.abide --format plan"
)]
pub struct Save {
    /// The file to write.
    pub seed: PathBuf,
    /// A .abide text, a PLAN seed, a .wasm module, .wat text, or a machine.
    pub source: PathBuf,
    /// What to write: a seed of Abide, or a PLAN seed of the row [main start].
    #[arg(long, value_enum, default_value = "abide")]
    pub format: SeedFormat,
    /// Write over a file that is no seed.
    #[arg(long)]
    pub force: bool,
    /// Genesis data for a module: the bytes of a file.
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// A port that the module asks for.
    #[arg(long, value_name = "PORT")]
    pub ask: Vec<String>,
    /// A limit for the module, such as step_cpu_ms=500; see docs/abi.md.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub limit: Vec<(String, u64)>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide eval`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide eval counter.abide\n  echo '(add 2 3)' | abide eval -\n  abide eval --steps 1000000 unknown.abide    ends it after a million steps\n\nThe values of the forms that define nothing are printed, as text that can be read back. Imports are files beside it, or of the base library\n(docs/lang.md), which is there without being imported."
)]
pub struct Eval {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How many steps it may take: functions entered, and bytes read.
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide fmt`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide fmt counter.abide\n  abide fmt --check *.abide    exit code 1 if a file is laid out otherwise\n\nThe names of files that change, or would, are printed. What a text means does not change, and comments stay."
)]
pub struct Fmt {
    /// The files; - lays out standard input, to standard output.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing.
    #[arg(long)]
    pub check: bool,
}

/// `abide show`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide show counter.wat          a program, as a seed of it would have it\n  abide show counter.seed\n  abide show ./notes              the image of its last checkpoint\n  abide show ./counter            where the program is a text: its definitions and its self, as text that can be read back\n  abide show ./notes@41           the log record with seq 41\n  abide show ./notes fa8c9152     an object: the first digits of its id, as status, show and log print them"
)]
pub struct Show {
    /// A seed file, a program, a machine, or a machine@seq.
    pub thing: PathBuf,
    /// The id of an object of the machine, or its first digits.
    pub object: Option<String>,
    /// The image of the machine's last checkpoint, also where its program is a text.
    #[arg(long, conflicts_with = "object")]
    pub image: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl Show {
    /// A machine's folder or a file, and the seq of `MACHINE@SEQ`, unless a path of the whole name exists.
    #[must_use]
    pub fn point(&self) -> (&Path, Option<Seq>) {
        let split = self.thing.to_str().and_then(|text| text.rsplit_once('@'));
        match split.and_then(|(machine, seq)| Some((Path::new(machine), seq.parse().ok()?))) {
            Some((machine, seq)) if !self.thing.exists() => (machine, Some(Seq(seq))),
            _ => (&self.thing, None),
        }
    }
}

/// `abide grant`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide grant ./notepad http:8080\n  abide grant ./notepad http:0.0.0.0:80 random\n\nThe machine is told. A port that cannot be opened is not granted; for a stopped machine, that shows when it is started. docs/ports.md lists ports."
)]
pub struct Grant {
    /// The machine.
    pub machine: PathBuf,
    /// The ports: names of grants, such as http:8080, also those that its seed did not ask for.
    #[arg(required = true, value_name = "PORT")]
    pub ports: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide revoke`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide revoke ./notepad http:8080\n  abide revoke ./notepad 4    by its number, as abide status shows it\n\nThe machine is told; what it waits for from there is broken with \"not granted\"."
)]
pub struct Revoke {
    /// The machine.
    pub machine: PathBuf,
    /// The ports: names of grants, or numbers.
    #[arg(required = true, value_name = "PORT")]
    pub ports: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide status`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  abide status ./counter")]
pub struct Status {
    /// The machine.
    pub machine: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide log`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide log ./notes --last 20\n  abide log ./notes --since 100\n  abide log ./notes --follow --json | jq .kind"
)]
pub struct Log {
    /// The machine.
    pub machine: PathBuf,
    /// Start with this seq.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub since: u64,
    /// Start with the last so many.
    #[arg(long, value_name = "RECORDS", conflicts_with = "since")]
    pub last: Option<u64>,
    /// Go on as the log grows.
    #[arg(long)]
    pub follow: bool,
    /// Print one JSON object a record.
    #[arg(long)]
    pub json: bool,
}

/// How much to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HowMuch {
    /// The log's chain, and that everything needed is there.
    Fast,
    /// Every byte.
    Full,
}

/// `abide verify`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide verify ./notes\n  abide verify ./notes --replay    execute its whole log again and compare"
)]
pub struct Verify {
    /// The machine.
    pub machine: PathBuf,
    /// How much to read.
    #[arg(long, value_enum, default_value = "full")]
    pub depth: HowMuch,
    /// Execute the whole log again and compare outputs and roots.
    #[arg(long)]
    pub replay: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Do the work in this very process, which damage may end by a signal.
    #[arg(long, hide = true)]
    pub in_process: bool,
    /// Do not look for what still stands.
    #[arg(long, hide = true)]
    pub tersely: bool,
}

/// `abide repair`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  abide repair ./notes --dry-run             what could be saved\n  abide repair ./notes\n  abide repair ./notes --from /backup/notes\n\nThe damaged machine is kept beside it, as MACHINE.damaged.\n\nExit codes: 0 nothing is lost, or there was nothing to repair; 3 it cannot be repaired and nothing was changed; 5 repaired, and something is lost, which is said."
)]
pub struct Repair {
    /// The machine. Nobody may be running it.
    pub machine: PathBuf,
    /// Another copy of the machine, whole or damaged, or a seed file: for what this one lacks.
    #[arg(long, value_name = "OTHER")]
    pub from: Option<PathBuf>,
    /// Only say what could be saved.
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `abide copy`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  abide copy ./notes /backup/notes")]
pub struct Copy {
    /// The machine.
    pub machine: PathBuf,
    /// The folder to make.
    pub to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

fn parse_limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let names: Vec<&str> = seed::image::Limits::RANGES.iter().map(|range| range.name).collect();
    if !names.contains(&name) {
        return Err(format!("there is no limit {name}; there are {}", names.join(", ")));
    }
    let value = value.parse().map_err(|_| format!("{value} is not a number"))?;
    Ok((name.to_owned(), value))
}

/// The most that a background check may be asked to read, in MiB a second: more than any disk gives.
const PACE_MAX: u64 = 1 << 16;

fn parse_pace(text: &str) -> Result<u64, String> {
    match text.parse() {
        _ if text == "off" => Ok(0),
        Ok(pace @ 1..=PACE_MAX) => Ok(pace),
        _ => Err(format!("it is a number of MiB a second from 1 to {PACE_MAX}, or off")),
    }
}

/// Where a dashboard is unless it is told: ABIDE on the keys of a telephone.
const DASHBOARD: &str = "127.0.0.1:22433";

fn parse_dashboard(text: &str) -> Result<SocketAddr, String> {
    let Some(address) = listening_address(text) else {
        return Err(format!(
            "it is a port, or an address such as {DASHBOARD}; where a machine comes after it, write --dashboard={DASHBOARD}"
        ));
    };
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "it shows all that enters the machine, so it is on this host alone; from another one: ssh -L 22433:{DASHBOARD} HOST"
    ))
}

fn parse_key(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("a key has at least one byte".to_owned()),
        1..=seed::record::SENDER_KEY_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("a key has at most {} bytes, this one {bytes}", seed::record::SENDER_KEY_BYTES_MAX)),
    }
}
