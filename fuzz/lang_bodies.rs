//! What the fuzz targets of the language do with their input. Apart from `bodies.rs`, which `seed`'s tests include: `seed` does not
//! know `lang`. `lang`'s tests include this.

use lang::Value;
use lang::compile::{Environment, Host, run};
use lang::seedfile::{Limits, read_germ, read_pin_file, read_pod, write, write_pod};
use lang::text::{Names, brief, format, read, show};

/// A PLAN seed, or one as part of a file: what is read is written and read again.
pub fn plan_seed(data: &[u8]) {
    let mut limits = Limits::new(1 << 20, 1 << 16);
    if let Ok(value) = read_germ(data, &[], &mut limits) {
        let Ok(bytes) = write(&value) else { panic!("what was read cannot be written") };
        assert_eq!(read_germ(&bytes, &[], &mut Limits::new(1 << 24, 1 << 20)), Ok(value));
    }
    if let Ok(file) = read_pin_file(data) {
        let _ = file.load(&[], &mut limits);
    }
    if let Ok(Value::Pin(pin)) = read_pod(data) {
        assert_eq!(read_pod(&write_pod(&pin).unwrap_or_default()), Ok(Value::Pin(pin)));
    }
}

/// A text: layout changes nothing, and what it says prints as what says the same.
pub fn text(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let laid_out = format(source, 40);
    match (read(source), &laid_out) {
        (Ok(forms), Ok(laid_out)) => {
            let Ok(again) = read(laid_out) else { panic!("what was laid out cannot be read") };
            assert_eq!(again.top().len(), forms.top().len());
            assert_eq!(format(laid_out, 40).as_ref(), Ok(laid_out));
        }
        (Err(error), Err(other)) => {
            assert_eq!(&error, other);
            assert!(error.render("file", source).starts_with("file:"));
        }
        _ => panic!("what cannot be read was laid out"),
    }
    let evaluated = |source: &str| run(source, &mut Environment::default(), &mut Nothing);
    match evaluated(source) {
        Ok(outcome) => {
            assert_eq!(laid_out.map(|text| evaluated(&text)), Ok(Ok(outcome.clone())));
            for value in outcome.values.iter().chain(outcome.definitions.iter().map(|(_, value)| value)) {
                let shown = show(value, &Names::default(), 40);
                assert_eq!(evaluated(&shown).map(|outcome| outcome.values), Ok(vec![value.clone()]));
                let _ = brief(value, &Names::default(), 40, 3);
            }
        }
        Err(error) => drop(error.render("file", source)),
    }
}

/// Evaluates nothing and knows no files.
struct Nothing;

impl Host for Nothing {
    fn evaluate(&mut self, _: Value) -> Result<Value, String> {
        Err("nothing is evaluated here".to_owned())
    }

    fn import(&mut self, _: &str) -> Result<Vec<(String, Value)>, String> {
        Err("there are no files here".to_owned())
    }
}
