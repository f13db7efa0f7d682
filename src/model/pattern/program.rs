//! From a tree to the programs that run it, within bounds of memory and of stack.

use regex_automata::dfa::{StartKind, dense};
use regex_automata::meta;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_syntax::hir::Hir;

use super::PatternError;

/// Largest compiled size of one pattern. A pattern past it is refused, whatever its text.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// Largest automaton of one pattern, and most memory to make it. A pattern past it has none.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// Trees up to this height are compiled on the caller's stack: compilation is recursive.
const HEIGHT_INLINE: usize = 64;

/// Stack for each level of a tree; several times what compilation takes in a build without optimisation.
const STACK_BYTES_PER_LEVEL: usize = 16 << 10;

/// Stack for everything else.
const STACK_BYTES_BASE: usize = 2 << 20;

/// Calls `work`, which recurses over a tree of this height, with enough stack for it.
pub(super) fn with_stack_for<T: Send>(height: usize, work: impl FnOnce() -> T + Send) -> Result<T, PatternError> {
    if height <= HEIGHT_INLINE {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("deep pattern".to_owned());
        let thread = builder.stack_size(STACK_BYTES_BASE + height * STACK_BYTES_PER_LEVEL).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| PatternError::NoThread { height, message: error.to_string() })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The program of a tree: with `groups` it can say where groups matched.
pub(super) fn compile(tree: &Hir, groups: bool) -> Result<meta::Regex, PatternError> {
    let captures = if groups { WhichCaptures::All } else { WhichCaptures::Implicit };
    let config = meta::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)).which_captures(captures);
    meta::Builder::new().configure(config).build_from_hir(tree).map_err(|error| match error.size_limit() {
        Some(limit) => PatternError::TooLarge { limit, got: limit + 1 },
        None => PatternError::Syntax(error.to_string()),
    })
}

/// The tree as a table of states, anchored at both ends, if that is small.
pub(super) fn automaton(tree: &Hir) -> Option<dense::DFA<Vec<u32>>> {
    let config = thompson::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)).which_captures(WhichCaptures::None);
    let nfa = thompson::Compiler::new().configure(config).build_from_hir(tree).ok()?;
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .accelerate(false)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BYTES_MAX));
    dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()
}
