//! What counts as an answer to a query.

use seed::ReplyId;
use seed::message::{Code, Output};

/// An answer to a query, or a refusal to answer.
pub type Answer = Result<Vec<u8>, (Code, String)>;

/// Reads what a query has put out: `[1, 0, 0, payload]` or `[2, 0, code, text]`, alone.
///
/// # Errors
/// What it is instead.
pub(crate) fn read_answer(output: &[u8]) -> Result<Answer, String> {
    match Output::decode_list(output).map(<[Output; 1]>::try_from) {
        Ok(Ok([Output::Answer { reply: ReplyId::NONE, more: false, payload }])) => Ok(Ok(payload)),
        Ok(Ok([Output::Refuse { reply: ReplyId::NONE, code, text }])) => Ok(Err((code, text))),
        Ok(Ok([other])) => Err(format!("it puts out {other:?}")),
        Ok(Err(outputs)) => Err(format!("it puts out {} parts", outputs.len())),
        Err(error) => Err(error.to_string()),
    }
}
