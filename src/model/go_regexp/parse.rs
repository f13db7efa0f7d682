//! The parser: text to the engine's tree, with a stack of open groups of its own.

use regex_syntax::hir::{Capture, Class, Dot, Hir, Look, Repetition};

use super::class::{self, Budget, ClassError, Folding};
use super::escape::escape;
use super::repeat::{Braces, COPIES_MAX, Repeat, braces};
use super::{Expression, Fault, SyntaxError, before, split_first};

/// Deepest tree that Go allows.
const HEIGHT_MAX: usize = 1000;

/// Most instructions that Go allows: 128 MiB of them.
const SIZE_MAX: u64 = (128 << 20) / 40;

/// What `(?flags)` changes.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// `i`: case is ignored.
    fold: bool,
    /// `m`: `^` and `$` match at lines.
    lines: bool,
    /// `s`: a dot matches a newline.
    dot_newline: bool,
    /// `U`: operators take as little as they can.
    lazy: bool,
}

impl Flags {
    fn set(&mut self, flag: char, on: bool) -> bool {
        match flag {
            'i' => self.fold = on,
            'm' => self.lines = on,
            's' => self.dot_newline = on,
            'U' => self.lazy = on,
            _ => return false,
        }
        true
    }

    fn folding(self) -> Folding {
        Folding { fold: self.fold }
    }
}

/// What an operand is, as far as Go merges it with its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Characters.
    Literal,
    /// One of some characters.
    Class,
    Concatenation,
    Alternation,
    Other,
}

/// A part of the expression, with what its bounds are counted by.
#[derive(Debug)]
struct Operand {
    /// What is concatenated or alternated. Joined only when it is used: joining at every level of a nest of groups would take
    /// time with the square of the levels.
    parts: Vec<Hir>,
    kind: Kind,
    height: usize,
    size: u64,
    copies: u32,
}

impl Operand {
    fn leaf(tree: Hir, kind: Kind) -> Self {
        Operand { parts: vec![tree], kind, height: 1, size: 1, copies: 1 }
    }

    fn tree(mut self) -> Hir {
        match (self.kind, self.parts.len()) {
            (_, 1) => self.parts.remove(0),
            (Kind::Alternation | Kind::Class, _) => Hir::alternation(self.parts),
            _ => Hir::concat(self.parts),
        }
    }

    fn is_one_char(&self) -> bool {
        self.kind == Kind::Class || (self.kind == Kind::Literal && self.size == 1)
    }

    /// Whether the parts are joined as those of `kind` are.
    fn is_joined_as(&self, kind: Kind) -> bool {
        self.kind == kind || (self.kind, kind) == (Kind::Literal, Kind::Concatenation)
    }

    /// Several operands as one. Go's tree has no concatenation in a concatenation, and no alternation in an alternation.
    fn join(mut operands: Vec<Operand>, kind: Kind) -> Self {
        let inner = operands.iter().map(|one| one.height - usize::from(one.kind == kind)).max().unwrap_or(0);
        let size = operands.iter().map(|one| one.size).fold(0, u64::saturating_add);
        let copies = operands.iter().map(|one| one.copies).max().unwrap_or(1);
        // What is there already is moved as little as possible.
        let parts_of = |one: Operand| if one.is_joined_as(kind) { one.parts } else { vec![one.tree()] };
        let count = |one: &Operand| if one.is_joined_as(kind) { one.parts.len() } else { 0 };
        let longest = (0..operands.len()).max_by_key(|at| count(&operands[*at])).unwrap_or(0);
        let after = operands.split_off(longest + 1);
        let mut parts = operands.pop().map(parts_of).unwrap_or_default();
        parts.splice(0..0, operands.into_iter().flat_map(parts_of));
        parts.extend(after.into_iter().flat_map(parts_of));
        Operand { parts, kind, height: 1 + inner, size, copies }
    }

    fn concatenation(mut operands: Vec<Operand>) -> Self {
        if operands.len() == 1 {
            return operands.remove(0);
        }
        if operands.is_empty() {
            return Operand::leaf(Hir::empty(), Kind::Other);
        }
        let is_text = operands.iter().all(|one| one.kind == Kind::Literal);
        let joined = Operand::join(operands, Kind::Concatenation);
        if is_text { Operand { kind: Kind::Literal, height: 1, ..joined } } else { joined }
    }

    fn alternation(mut operands: Vec<Operand>) -> Self {
        if operands.len() == 1 {
            return operands.remove(0);
        }
        let bars = operands.len() as u64 - 1;
        let is_class = operands.iter().all(Operand::is_one_char);
        let joined = Operand::join(operands, Kind::Alternation);
        if is_class {
            let copies = joined.copies;
            return Operand { copies, ..Operand::leaf(joined.tree(), Kind::Class) };
        }
        Operand { size: joined.size.saturating_add(bars), ..joined }
    }
}

/// A group that is open, or the whole.
#[derive(Debug, Default)]
struct Group {
    /// The number of a capturing group.
    capture: Option<u32>,
    /// The flags around it.
    outer: Flags,
    branches: Vec<Operand>,
    /// The operands of the branch that is being read.
    operands: Vec<Operand>,
}

impl Group {
    fn end_branch(&mut self) {
        let operands = std::mem::take(&mut self.operands);
        self.branches.push(Operand::concatenation(operands));
    }
}

struct Parser<'t> {
    text: &'t str,
    flags: Flags,
    /// Groups around the place that is read.
    outside: Vec<Group>,
    group: Group,
    captures: u32,
    names: Vec<(String, usize)>,
    budget: Budget,
}

/// Parses an expression. `dot_newline` is whether a dot matches a newline from the beginning.
pub(in crate::model) fn parse(text: &str, dot_newline: bool) -> Result<Expression, SyntaxError> {
    let flags = Flags { dot_newline, ..Flags::default() };
    let group = Group::default();
    let budget = Budget::of(text);
    let mut parser = Parser { text, flags, outside: Vec::new(), group, captures: 0, names: Vec::new(), budget };
    parser.run()?;
    let whole = parser.end_group()?;
    if !parser.outside.is_empty() {
        return Err(SyntaxError::new(Fault::MissingParenthesis, text));
    }
    let height = whole.height;
    Ok(Expression { tree: whole.tree(), names: parser.names, height })
}

impl<'t> Parser<'t> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        let mut rest = self.text;
        // Where the operator begins that stands directly before `rest`, if one does.
        let mut last_repeat: Option<&str> = None;
        while let Some((first, after)) = split_first(rest) {
            let here = rest;
            let mut repeat = None;
            match first {
                '*' | '+' | '?' => repeat = Repeat::of_char(first).map(|repeat| (repeat, after)),
                '{' => match braces(rest) {
                    Braces::Repeat(found, after) => repeat = Some((found, after)),
                    Braces::Wrong(after) => return Err(SyntaxError::new(Fault::RepeatCount, before(rest, after))),
                    Braces::Text => {
                        self.literal('{'.into())?;
                        rest = after;
                    }
                },
                _ => rest = self.other(rest, first, after)?,
            }
            last_repeat = match repeat {
                Some((repeat, after)) => {
                    rest = self.repeat(repeat, here, after, last_repeat)?;
                    Some(here)
                }
                None => None,
            };
        }
        Ok(())
    }

    /// Reads what is no repetition operator at the start of `rest`.
    fn other(&mut self, rest: &'t str, first: char, after: &'t str) -> Result<&'t str, SyntaxError> {
        match first {
            '(' if after.starts_with('?') => return self.perl_group(rest),
            '(' => {
                self.captures += 1;
                self.open(Some(self.captures), self.flags);
            }
            ')' => self.close()?,
            '|' => {
                self.group.end_branch();
                self.check_branch()?;
            }
            '^' => self.look(if self.flags.lines { Look::StartLF } else { Look::Start })?,
            '$' => self.look(if self.flags.lines { Look::EndLF } else { Look::End })?,
            '.' => {
                let dot = if self.flags.dot_newline { Dot::AnyChar } else { Dot::AnyCharExceptLF };
                self.push(Operand::leaf(Hir::dot(dot), Kind::Class))?;
            }
            '[' => {
                let found = class::bracketed(rest, self.flags.folding(), &mut self.budget);
                let (class, rest) = self.class_result(found)?;
                self.push(Operand::leaf(Hir::class(Class::Unicode(class)), Kind::Class))?;
                return Ok(rest);
            }
            '\\' => return self.backslash(rest, after),
            _ => self.literal(first.into())?,
        }
        Ok(after)
    }

    fn backslash(&mut self, rest: &'t str, after: &'t str) -> Result<&'t str, SyntaxError> {
        if let Some((letter, after)) = split_first(after) {
            let look = match letter {
                'A' => Some(Look::Start),
                'z' => Some(Look::End),
                'b' => Some(Look::WordAscii),
                'B' => Some(Look::WordAsciiNegate),
                // One byte, which need not be a character.
                'C' => return Err(SyntaxError::new(Fault::Escape, before(rest, after))),
                'Q' => {
                    let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
                    quoted.chars().try_for_each(|one| self.literal(one.into()))?;
                    return Ok(after);
                }
                _ => None,
            };
            if let Some(look) = look {
                self.look(look)?;
                return Ok(after);
            }
        }
        let found = class::escaped(rest, self.flags.folding(), &mut self.budget);
        if let Some((class, rest)) = self.class_result(found)? {
            self.push(Operand::leaf(Hir::class(Class::Unicode(class)), Kind::Class))?;
            return Ok(rest);
        }
        let (code, rest) = escape(rest)?;
        self.literal(code)?;
        Ok(rest)
    }

    fn class_result<T>(&self, result: Result<T, ClassError>) -> Result<T, SyntaxError> {
        result.map_err(|error| match error {
            ClassError::Syntax(error) => error,
            ClassError::TooLarge => self.too_large(),
        })
    }

    /// A group that begins with `(?`: flags, a name, or nothing but a group.
    fn perl_group(&mut self, rest: &'t str) -> Result<&'t str, SyntaxError> {
        // At the end of the text there is no room for a name.
        let name = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<")).filter(|name| !name.is_empty());
        if let Some(name) = name {
            let wrong = |part: &str| SyntaxError::new(Fault::NamedGroup, part);
            let (name, after) = name.split_once('>').ok_or_else(|| wrong(rest))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(wrong(before(rest, after)));
            }
            self.captures += 1;
            self.names.push((name.to_owned(), self.captures as usize));
            self.open(Some(self.captures), self.flags);
            return Ok(after);
        }
        let mut flags = self.flags;
        let (mut on, mut has_flag) = (true, false);
        let mut after = &rest[2..];
        while let Some((one, next)) = split_first(after) {
            after = next;
            match one {
                '-' if on => (on, has_flag) = (false, false),
                // A minus has to be followed by a flag.
                ':' | ')' if on || has_flag => {
                    if one == ':' {
                        self.open(None, self.flags);
                    }
                    self.flags = flags;
                    return Ok(after);
                }
                _ if flags.set(one, on) => has_flag = true,
                _ => break,
            }
        }
        Err(SyntaxError::new(Fault::PerlSyntax, before(rest, after)))
    }

    fn open(&mut self, capture: Option<u32>, outer: Flags) {
        let group = Group { capture, outer, ..Group::default() };
        self.outside.push(std::mem::replace(&mut self.group, group));
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let mut operand = self.end_group()?;
        let Some(outside) = self.outside.pop() else {
            return Err(SyntaxError::new(Fault::UnexpectedParenthesis, self.text));
        };
        let group = std::mem::replace(&mut self.group, outside);
        self.flags = group.outer;
        if let Some(index) = group.capture {
            let Operand { height, size, copies, .. } = operand;
            let sub = Box::new(operand.tree());
            operand = Operand {
                height: height + 1,
                size: size.saturating_add(2),
                copies,
                ..Operand::leaf(Hir::capture(Capture { index, name: None, sub }), Kind::Other)
            };
        }
        self.push(operand)
    }

    /// What the group that is being read comes to.
    fn end_group(&mut self) -> Result<Operand, SyntaxError> {
        self.group.end_branch();
        self.check_branch()?;
        let whole = Operand::alternation(std::mem::take(&mut self.group.branches));
        self.check(&whole)?;
        Ok(whole)
    }

    fn repeat(
        &mut self,
        repeat: Repeat,
        here: &'t str,
        after: &'t str,
        last: Option<&'t str>,
    ) -> Result<&'t str, SyntaxError> {
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (!self.flags.lazy, after),
            None => (self.flags.lazy, after),
        };
        if let Some(last) = last {
            return Err(SyntaxError::new(Fault::NestedRepetition, before(last, after)));
        }
        let Some(operand) = self.group.operands.pop() else {
            return Err(SyntaxError::new(Fault::MissingArgument, before(here, after)));
        };
        let Repeat { min, max, .. } = repeat;
        let Operand { height, size, copies, .. } = operand;
        let sub = Box::new(operand.tree());
        let repeated = Operand {
            height: height + 1,
            size: repeat.size(size),
            copies: repeat.copies(copies),
            ..Operand::leaf(Hir::repetition(Repetition { min, max, greedy: !lazy, sub }), Kind::Other)
        };
        let is_too_many = repeat.multiplies() && repeated.copies > COPIES_MAX;
        self.push(repeated)?;
        if is_too_many {
            return Err(SyntaxError::new(Fault::RepeatCount, before(here, after)));
        }
        Ok(after)
    }

    fn literal(&mut self, code: u32) -> Result<(), SyntaxError> {
        let found = class::of_code(code, self.flags.folding(), &mut self.budget);
        let tree = Hir::class(Class::Unicode(self.class_result(found)?));
        self.push(Operand::leaf(tree, Kind::Literal))
    }

    fn look(&mut self, look: Look) -> Result<(), SyntaxError> {
        self.push(Operand::leaf(Hir::look(look), Kind::Other))
    }

    fn push(&mut self, operand: Operand) -> Result<(), SyntaxError> {
        self.check(&operand)?;
        self.group.operands.push(operand);
        Ok(())
    }

    fn check_branch(&self) -> Result<(), SyntaxError> {
        self.group.branches.last().map_or(Ok(()), |branch| self.check(branch))
    }

    fn check(&self, operand: &Operand) -> Result<(), SyntaxError> {
        if operand.size > SIZE_MAX {
            return Err(self.too_large());
        }
        if operand.height > HEIGHT_MAX {
            return Err(SyntaxError::new(Fault::NestingDepth, self.text));
        }
        Ok(())
    }

    fn too_large(&self) -> SyntaxError {
        SyntaxError::new(Fault::TooLarge, self.text)
    }
}
