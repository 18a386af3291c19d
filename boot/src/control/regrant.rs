//! Changes of grants on the control socket: what is asked for, and what has come of it.

use seed::cbor::{CborError, Fault, Reader, Writer};
use seed::image::{read_grants, write_grants};

use super::Said;
use super::wish::encode_regrant;
use crate::driver::{Change, Regranted};

/// Why grants were not changed, in the words of the process that runs the machine.
#[derive(Debug)]
pub struct Refused {
    /// What went wrong, and the exit code for it.
    pub said: Said,
    /// What to type next, if there is something.
    pub hint: Option<String>,
}

pub(super) fn encode_change(id: u64, change: &Change) -> Vec<u8> {
    match change {
        Change::Grant(names) => encode_regrant(id, false, names),
        Change::Revoke(names) => encode_regrant(id, true, names),
    }
}

pub(super) fn encode_done(id: u64, regranted: &Regranted) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(4).uint(10).uint(id);
    write_grants(&regranted.grants, &mut frame);
    write_grants(&regranted.changed, &mut frame);
    frame.finish()
}

pub(super) fn encode_refused(id: u64, exit: u8, causes: &[String], hint: Option<&str>) -> Vec<u8> {
    let mut frame = Writer::new();
    frame.array(5).uint(11).uint(id).uint(u64::from(exit)).array(causes.len());
    causes.iter().fold(&mut frame, |frame, cause| frame.text(cause)).text(hint.unwrap_or_default());
    frame.finish()
}

/// What a machine says to a change, if this is that.
pub(super) fn decode_outcome(frame: &[u8], id: u64) -> Result<Option<Result<Regranted, Refused>>, CborError> {
    let mut reader = Reader::new(frame);
    let items = reader.array()?;
    let kind = reader.uint()?;
    if !matches!(kind, 10 | 11) || reader.uint()? != id {
        return Ok(None);
    }
    let outcome = match (kind, items) {
        (10, 4) => Ok(Regranted { grants: read_grants(&mut reader)?, changed: read_grants(&mut reader)? }),
        (11, 5) => {
            let exit = u8::try_from(reader.uint_max(u64::from(u8::MAX), "an exit code")?).unwrap_or(u8::MAX);
            let count = reader.array()?;
            let causes = (0..count).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, CborError>>()?;
            let hint = Some(reader.text()?.to_owned()).filter(|hint| !hint.is_empty());
            Err(Refused { said: Said::of(exit, causes), hint })
        }
        _ => return Err(reader.fault(Fault::Rule("an outcome of this kind has another number of items"))),
    };
    reader.end()?;
    Ok(Some(outcome))
}

#[cfg(test)]
mod tests {
    use seed::PortId;
    use seed::image::Grant;

    use super::super::WISH_BOUNDS;
    use super::super::wish::{Wish, decode};
    use super::*;
    use crate::ports::{GRANTS_MAX, NAME_BYTES_MAX};
    use crate::report::causes;

    #[test]
    fn changes_and_outcomes_read_as_they_were_written() {
        let names = || vec!["http:8080".to_owned(), "3".to_owned()];
        for (change, revokes, names) in [
            (Change::Grant(names()), false, names()),
            (Change::Revoke(names()), true, names()),
            (Change::Grant(Vec::new()), false, Vec::new()),
        ] {
            let read = decode(&encode_change(7, &change), WISH_BOUNDS).unwrap();
            assert_eq!(read, (7, Wish::Regrant { revokes, names }));
        }
        let grant = |port, name: &str| Grant { port: PortId(port), name: name.to_owned() };
        let done =
            Regranted { grants: vec![grant(0, "owner"), grant(4, "http:80")], changed: vec![grant(4, "http:80")] };
        assert_eq!(decode_outcome(&encode_done(7, &done), 7).unwrap().unwrap().unwrap(), done);
        assert!(decode_outcome(&encode_done(7, &done), 8).unwrap().is_none());
        let said = ["it cannot be opened".to_owned(), "in use".to_owned()];
        let refused = decode_outcome(&encode_refused(7, 1, &said, Some("stop it")), 7).unwrap().unwrap().unwrap_err();
        assert_eq!(
            (causes(&refused.said), refused.said.exit, refused.hint.as_deref()),
            (said.to_vec(), 1, Some("stop it"))
        );
    }

    #[test]
    fn no_more_is_read_than_can_be_granted() {
        let long = Change::Grant(vec!["x".repeat(NAME_BYTES_MAX + 1)]);
        let why = |change: &Change| decode(&encode_change(1, change), WISH_BOUNDS).unwrap_err().to_string();
        assert!(why(&long).contains("the length of a port's name"));
        let many = Change::Revoke(vec![String::new(); GRANTS_MAX + 1]);
        assert!(why(&many).contains("the number of ports"));
        let change = encode_change(1, &Change::Grant(vec!["clock".to_owned()]));
        for length in 0..change.len() {
            assert!(decode(&change[..length], WISH_BOUNDS).is_err());
        }
    }
}
