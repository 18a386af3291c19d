//! Figures, their floors and their targets, one a line.

use std::fmt::Write;
use std::time::{Duration, Instant};

/// What a figure must be, compared with its floor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The figure is a rate: at least this share of the floor's.
    ShareAtLeast(f64),
    /// The figure is a rate: at least so much.
    RateAtLeast(f64),
    /// The figure is a cost: at most this many times the floor.
    TimesAtMost(f64),
    /// The figure is a cost: at most this much more than the floor.
    BeyondAtMost(Duration),
    /// The figure is a cost with a bound of its own.
    AtMost(Duration),
    /// Nobody has promised anything.
    Reported,
}

/// Prints lines as they come, and counts.
#[derive(Debug, Default)]
pub(crate) struct Report {
    met: usize,
    missed: Vec<String>,
}

impl Report {
    /// Begins a section.
    pub(crate) fn section(&mut self, name: &str) {
        println!("\n{name:<58} {:>12} {:>12} {:>10}  target", "figure", "floor", "ratio");
    }

    /// A rate, in events a second.
    pub(crate) fn rate(&mut self, name: &str, figure: f64, floor: f64, target: Target) {
        let text = |rate: f64| format!("{} /s", thousands(rate));
        let ratio = figure / floor;
        let verdict = match target {
            Target::ShareAtLeast(share) => Some((ratio >= share, format!(">= {share}"))),
            Target::RateAtLeast(rate) => Some((figure >= rate, format!(">= {} /s", thousands(rate)))),
            _ => None,
        };
        self.line(name, &text(figure), &text(floor), &format!("{ratio:.2}"), verdict);
    }

    /// A cost, in time.
    pub(crate) fn cost(&mut self, name: &str, figure: Duration, floor: Option<Duration>, target: Target) {
        let ratio = floor.map(|floor| figure.as_secs_f64() / floor.as_secs_f64());
        let beyond = floor.map(|floor| figure.as_secs_f64() - floor.as_secs_f64());
        let (shown, verdict) = match (target, ratio, beyond) {
            (Target::TimesAtMost(times), Some(ratio), _) => {
                (format!("{ratio:.2}"), Some((ratio <= times, format!("<= {times}"))))
            }
            (Target::BeyondAtMost(most), _, Some(beyond)) => {
                let met = beyond <= most.as_secs_f64();
                (format!("{:+.1} us", beyond * 1e6), Some((met, format!("<= +{}", time(most)))))
            }
            (Target::AtMost(most), _, _) => {
                let shown = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                (shown, Some((figure <= most, format!("<= {}", time(most)))))
            }
            (_, Some(ratio), _) => (format!("{ratio:.2}"), None),
            _ => (String::new(), None),
        };
        self.line(name, &time(figure), &floor.map_or_else(String::new, time), &shown, verdict);
    }

    /// Something that is neither, as text.
    pub(crate) fn note(&mut self, name: &str, text: &str) {
        println!("{name:<58} {text}");
    }

    /// A ratio without a unit.
    pub(crate) fn ratio(&mut self, name: &str, ratio: f64, target: Target) {
        let verdict = match target {
            Target::TimesAtMost(times) => Some((ratio <= times, format!("<= {times}"))),
            _ => None,
        };
        self.line(name, "", "", &format!("{ratio:.2}"), verdict);
    }

    /// Says how many targets were met.
    pub(crate) fn finish(&self) {
        if self.met + self.missed.len() > 0 {
            println!("\n{} targets met, {} missed", self.met, self.missed.len());
        }
        for name in &self.missed {
            println!("missed: {name}");
        }
    }

    fn line(&mut self, name: &str, figure: &str, floor: &str, ratio: &str, verdict: Option<(bool, String)>) {
        let mut line = format!("{name:<58} {figure:>12} {floor:>12} {ratio:>10}");
        if let Some((met, goal)) = verdict {
            let word = if met { "met" } else { "MISSED" };
            let _ = write!(line, "  {goal} {word}");
            if met {
                self.met += 1;
            } else {
                self.missed.push(name.to_owned());
            }
        }
        println!("{line}");
    }
}

/// The median; the upper one of two.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long something takes.
pub(crate) fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Times two things in turns; the median of each.
pub(crate) fn in_turns(rounds: usize, mut first: impl FnMut(), mut second: impl FnMut()) -> (Duration, Duration) {
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        firsts.push(timed(&mut first));
        seconds.push(timed(&mut second));
    }
    (median(firsts), median(seconds))
}

/// A time in the unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..1e-6 => format!("{:.0} ns", seconds * 1e9),
        ..1e-3 => format!("{:.1} us", seconds * 1e6),
        ..1.0 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
