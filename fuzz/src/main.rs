//! Feeds each decoder with mutated input and checks what it makes of it.
//!
//! A target is a function that takes bytes and panics where something does not hold: not only that nothing crashes, but
//! that what was decoded and is encoded again decodes to the same, that what was stored and what was refused are what was
//! sent, and that memory stays within a bound that the length of the input sets. Each target runs in a process of its own,
//! so that an overflowed stack or an endless loop is a finding like others. An input that fails is cut down and kept in
//! `testdata/fuzz/<target>/`, and every later run begins with what is kept there.
//!
//! It runs on stable Rust. Built with coverage (`docs/testing.md`), it goes on from inputs that reach new code.

mod coverage;
mod memory;
mod mutate;
mod options;
mod run;
mod targets;
mod watch;

use std::process::ExitCode;

use options::Options;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let targets: Vec<_> = targets::ALL.iter().filter(|target| options.names(target.name)).collect();
    if targets.is_empty() || options.list {
        targets::ALL.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::from(if options.list { 0 } else { 2 });
    }
    let mut failed = 0;
    for target in targets {
        let good = match &options.current {
            Some(current) => run::run(target, &options, current),
            None => watch::watch(target, &options),
        };
        failed += u32::from(!good);
    }
    ExitCode::from(u8::from(failed > 0))
}
