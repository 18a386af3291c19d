//! What still stands of a damaged machine, in words and for programs: what `abide verify` says beside a finding, and what `abide repair` does about it.

use std::path::Path;

use persist::salvage::survey::{Kept, Plan, Span, Survey};
use persist::salvage::{Salvage, SalvageError};
use seed::Seq;
use serde_json::{Value as Json, json};

use super::hosted::last;
use crate::shown;
use crate::terminal::Progress;

/// What still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// A fact a line.
    pub lines: Vec<String>,
    /// The same for programs.
    pub json: Json,
    /// Whether a repair can make a machine of it.
    pub can_be_repaired: bool,
}

impl Standing {
    /// Looks at the files of a machine, without LMDB; nothing if they cannot even be opened.
    #[must_use]
    pub fn of(machine: &Path) -> Option<Self> {
        let mut salvage = read(machine).ok()?;
        Some(Self::told(&Survey::of(&mut salvage), machine))
    }

    pub(crate) fn told(survey: &Survey, machine: &Path) -> Self {
        let mut lines = Vec::new();
        if let Some(seq) = survey.goal.and_then(|goal| goal.unknown_head) {
            lines.push(format!("the head file names a batch before seq {seq} that is not in the log"));
        }
        if survey.unreadable > 0 {
            lines.push(format!("the disk does not give {} of data.mdb", shown::bytes(survey.unreadable)));
        }
        lines.push(match (survey.goal, survey.holes.as_slice()) {
            (None, _) => "nothing says where the machine stood, and no batch of its log can be had".to_owned(),
            (Some(goal), []) => format!("the log is whole, up to seq {}", last(goal.end)),
            (Some(goal), holes) => {
                let holes: Vec<String> = holes.iter().rev().map(ToString::to_string).collect();
                format!("of the log up to seq {}, {} cannot be had", last(goal.end), holes.join(", "))
            }
        });
        lines.extend(
            survey.lost.iter().map(|lost| format!("the last checkpoint lacks {}, object {}", lost.part, lost.link.1)),
        );
        if let Some((seq, image)) = survey.lost_epoch {
            lines.push(format!("the image {image}, from which the epoch at seq {seq} starts, is not whole"));
        }
        lines.push(match &survey.plan {
            None => "no image is whole".to_owned(),
            Some(plan) if plan.base.end == Seq(0) => {
                "the newest whole image is the one that it was booted from".to_owned()
            }
            Some(plan) => {
                format!("the newest whole image is the one at seq {}, root {}", last(plan.base.end), plan.base.root)
            }
        });
        lines.push(saves(survey, machine));
        Self { lines, json: facts(survey), can_be_repaired: survey.plan.is_some() }
    }
}

/// Reads the files of a machine.
pub(crate) fn read(machine: &Path) -> Result<Salvage, SalvageError> {
    let progress = Progress::of(format!("reading what stands of {}", machine.display()));
    Salvage::open(machine, &mut |read, total| progress.at(format!("{} of {} MiB", read >> 20, total >> 20)))
}

/// What a repair saves, and what not.
fn saves(survey: &Survey, machine: &Path) -> String {
    let repair = format!("abide repair {}", machine.display());
    let Some(plan) = &survey.plan else { return format!("{repair} needs another copy of it: --from OTHER") };
    let mut lost = Vec::new();
    lost.extend(survey.lost_records().map(|span| format!("{span}, which had been acknowledged")));
    if plan.kept == Kept::State {
        lost.push(format!("the history before seq {}", plan.end.end));
    }
    match lost.as_slice() {
        [] => format!("{repair} saves everything"),
        lost => format!("{repair} saves what it was at seq {}, and loses {}", last(plan.end.end), lost.join(" and ")),
    }
}

pub(crate) fn span(span: Span) -> Json {
    json!([span.from.0, last(span.to)])
}

pub(crate) fn facts(survey: &Survey) -> Json {
    let lost =
        |lost: &persist::part::Lost| json!({ "object": format!("{:x}", lost.link.1), "part": lost.part.to_string() });
    let plan = |plan: &Plan| {
        json!({
            "keeps_history": plan.kept == Kept::History,
            "end": plan.end.end.0, "root": format!("{:x}", plan.end.root),
            "image": { "end": plan.base.end.0, "root": format!("{:x}", plan.base.root) },
        })
    };
    json!({
        "end": survey.goal.map(|goal| goal.end.0),
        "unreadable_bytes": survey.unreadable,
        "history_end": survey.history().0,
        "missing_seqs": survey.holes.iter().rev().map(|hole| span(*hole)).collect::<Vec<_>>(),
        "missing_objects": survey.lost.iter().map(lost).collect::<Vec<_>>(),
        "lost_seqs": survey.lost_records().map(span),
        "repair": survey.plan.as_ref().map(plan),
    })
}
