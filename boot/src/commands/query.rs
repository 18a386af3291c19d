//! `abide query`: a question that changes nothing.

use std::process::ExitCode;

use seed::ReplyId;
use vm::step_loop::AskerNews;

use super::{past, send};
use crate::cli::Query;
use crate::report::Failure;

pub(crate) fn run(args: &Query) -> Result<ExitCode, Failure> {
    let payload = send::payload(&args.payload)?;
    let answer = past::with(&args.machine, args.at, |past| {
        past.query(payload).map_err(|source| Failure::Ask { path: args.machine.clone(), source })
    })?;
    let news = match answer {
        Ok(payload) => AskerNews::Answer { reply: ReplyId::NONE, more: false, payload },
        Err((code, text)) => AskerNews::Refused { code, text },
    };
    send::tell(&[news], args.json)
}
