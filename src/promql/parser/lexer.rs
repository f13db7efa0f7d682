//! Cuts the text of a query into tokens, on demand.
//!
//! What a character means depends on where it stands: between braces words are never keywords, and between brackets
//! only durations and arithmetic on them can stand. The rules, also those that look odd, are those of Prometheus'
//! `promql/parser/lex.go`, version 3.14, and so are the texts of the errors.

use super::ast::{BinaryOp, Span};
use super::error::Failure;
use super::quote::quote_char;
use super::token::{Keyword, Token, TokenKind, word_token};
use crate::encoding::quote;

/// How many tokens a query may have. It bounds the memory that a tree takes, in whatever form.
const TOKENS_MAX: usize = 100_000;

/// The lexer. After an error it gives only the end of input.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Where the token at hand starts.
    start: usize,
    /// The next byte to look at.
    pos: usize,
    has_failed: bool,
    /// How many tokens there were.
    token_count: usize,
    /// How many parentheses are open.
    paren_depth: usize,
    is_brace_open: bool,
    is_bracket_open: bool,
    /// Only durations can follow, up to the first of them.
    expects_duration: bool,
    /// A colon stood since the bracket was opened.
    has_colon: bool,
    /// A duration stood in some bracket of the query.
    has_duration: bool,
}

/// Where a number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberSyntax {
    Expression,
    Series,
}

type Lexed = Result<TokenKind, String>;

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer {
            text,
            start: 0,
            pos: 0,
            has_failed: false,
            token_count: 0,
            paren_depth: 0,
            is_brace_open: false,
            is_bracket_open: false,
            expects_duration: false,
            has_colon: false,
            has_duration: false,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// A number of a series description that starts at `start`: no hexadecimal, since an `x` repeats the number.
    pub(super) fn series_number(text: &'a str, start: usize) -> Result<Span, Failure> {
        let mut lexer = Lexer { start, pos: start, ..Lexer::new(text) };
        let is_number = lexer.scan_number(NumberSyntax::Series);
        let span = Span { start, end: lexer.pos };
        if is_number {
            return Ok(span);
        }
        Err(Failure::new(span, format!("bad number syntax: {}", quote(lexer.word()))))
    }

    /// The next token; comments and space are skipped.
    pub(super) fn next_token(&mut self) -> Token {
        if self.has_failed {
            return Token { kind: TokenKind::Eof, span: Span { start: self.text.len(), end: self.text.len() } };
        }
        self.skip_space_and_comments();
        self.start = self.pos;
        self.token_count += 1;
        let lexed = if self.token_count > TOKENS_MAX {
            Err(format!("query is too large: at most {TOKENS_MAX} tokens are allowed"))
        } else if self.is_brace_open {
            self.lex_in_braces()
        } else if self.is_bracket_open && self.expects_duration {
            self.lex_duration_expression()
        } else {
            self.lex_expression()
        };
        match lexed {
            Ok(kind) => Token { kind, span: Span { start: self.start, end: self.pos } },
            Err(message) => {
                self.has_failed = true;
                Token { kind: TokenKind::Error(message), span: Span { start: self.start, end: self.text.len() } }
            }
        }
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn peek_char(&self) -> Option<char> {
        self.text.get(self.pos..).and_then(|rest| rest.chars().next())
    }

    fn next_char(&mut self) -> Option<char> {
        let character = self.peek_char()?;
        self.pos += character.len_utf8();
        Some(character)
    }

    /// Takes the next byte if it is one of `set`, which is ASCII.
    fn accept(&mut self, set: &[u8]) -> bool {
        let is_accepted = self.is_next(set);
        self.pos += usize::from(is_accepted);
        is_accepted
    }

    fn is_next(&self, set: &[u8]) -> bool {
        self.peek_byte().is_some_and(|byte| set.contains(&byte))
    }

    fn skip_while(&mut self, is_wanted: impl Fn(u8) -> bool) {
        while self.peek_byte().is_some_and(&is_wanted) {
            self.pos += 1;
        }
    }

    fn word(&self) -> &'a str {
        self.text.get(self.start..self.pos).unwrap_or_default()
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.skip_while(is_space);
            // In front of the first duration of a bracket there is no room for a comment.
            let is_comment = self.peek_byte() == Some(b'#')
                && (self.is_brace_open || !(self.is_bracket_open && self.expects_duration));
            if !is_comment {
                return;
            }
            self.skip_while(|byte| byte != b'\n' && byte != b'\r');
        }
    }

    /// Outside of braces, and between brackets behind the first duration.
    fn lex_expression(&mut self) -> Lexed {
        let Some(character) = self.next_char() else { return self.lex_end() };
        let kind = match character {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            '@' => TokenKind::At,
            '=' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Eq),
            '=' if self.is_next(b"~") => return Err("unexpected character after '=': '~'".to_owned()),
            '=' => TokenKind::Assign,
            '!' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Ne),
            '!' => return Err(format!("unexpected character after '!': {}", quote_next(self.peek_char()))),
            '<' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Le),
            '<' if self.accept(b"/") => TokenKind::Operator(BinaryOp::TrimUpper),
            '<' => TokenKind::Operator(BinaryOp::Lt),
            '>' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Ge),
            '>' if self.accept(b"/") => TokenKind::Operator(BinaryOp::TrimLower),
            '>' => TokenKind::Operator(BinaryOp::Gt),
            '0'..='9' | '.' if self.starts_number(character) => return self.lex_number_or_duration(),
            '"' | '\'' => return self.lex_string(character),
            '`' => return self.lex_raw_string(),
            ':' | '_' | 'a'..='z' | 'A'..='Z' if !self.is_bracket_open => return Ok(self.lex_word()),
            ':' if self.has_colon => return Err("unexpected colon ':'".to_owned()),
            ':' => {
                self.has_colon = true;
                TokenKind::Colon
            }
            '_' | 'a'..='z' | 'A'..='Z' => {
                return self
                    .lex_duration_keyword()
                    .ok_or_else(|| format!("unexpected character: {}, expected ':'", quote_char(character)));
            }
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => return self.lex_right_paren(),
            '{' => {
                self.is_brace_open = true;
                TokenKind::LeftBrace
            }
            '[' if self.is_bracket_open => return Err("unexpected left bracket '['".to_owned()),
            '[' => {
                self.is_bracket_open = true;
                self.expects_duration = true;
                self.has_colon = false;
                TokenKind::LeftBracket
            }
            ']' if !self.is_bracket_open => return Err("unexpected right bracket ']'".to_owned()),
            ']' => {
                self.is_bracket_open = false;
                TokenKind::RightBracket
            }
            _ => return Err(format!("unexpected character: {}", quote_char(character))),
        };
        Ok(kind)
    }

    fn lex_end(&self) -> Lexed {
        if self.paren_depth > 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.is_bracket_open {
            return Err("unclosed left bracket".to_owned());
        }
        Ok(TokenKind::Eof)
    }

    fn lex_right_paren(&mut self) -> Lexed {
        match self.paren_depth.checked_sub(1) {
            Some(depth) => self.paren_depth = depth,
            None => {
                self.start = self.pos;
                return Err("unexpected right parenthesis ')'".to_owned());
            }
        }
        Ok(TokenKind::RightParen)
    }

    /// Between brackets, up to and with the first number or duration.
    fn lex_duration_expression(&mut self) -> Lexed {
        let Some(character) = self.next_char() else {
            return Err("unexpected end of input in duration expression".to_owned());
        };
        let kind = match character {
            ']' => {
                self.is_bracket_open = false;
                self.has_colon = false;
                TokenKind::RightBracket
            }
            ':' => {
                let why = match () {
                    () if !self.has_duration => "unexpected colon before duration in duration expression",
                    () if self.has_colon => "unexpected repeated colon in duration expression",
                    () => {
                        self.has_colon = true;
                        return Ok(TokenKind::Colon);
                    }
                };
                self.start = self.pos;
                return Err(why.to_owned());
            }
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => return self.lex_right_paren(),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            ',' => TokenKind::Comma,
            '0'..='9' | '.' if self.starts_number(character) => {
                self.has_duration = true;
                self.expects_duration = false;
                return self.lex_number_or_duration();
            }
            _ => {
                let keyword = character.is_ascii_alphabetic().then(|| self.lex_duration_keyword()).flatten();
                return keyword
                    .ok_or_else(|| format!("unexpected character in duration expression: {}", quote_char(character)));
            }
        };
        Ok(kind)
    }

    /// `step`, `range`, `min_of` or `max_of`, whose first letter was taken.
    fn lex_duration_keyword(&mut self) -> Option<TokenKind> {
        self.skip_while(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        match word_token(self.word()) {
            Some(TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf))) => {
                Some(TokenKind::Keyword(keyword))
            }
            _ => None,
        }
    }

    fn lex_in_braces(&mut self) -> Lexed {
        let Some(character) = self.next_char() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        let kind = match character {
            '_' | 'a'..='z' | 'A'..='Z' => {
                self.skip_while(is_alphanumeric);
                TokenKind::Identifier
            }
            ',' => TokenKind::Comma,
            '"' | '\'' => return self.lex_string(character),
            '`' => return self.lex_raw_string(),
            '=' if self.accept(b"~") => TokenKind::RegexMatch,
            '=' => TokenKind::Assign,
            '!' if self.accept(b"~") => TokenKind::RegexNotMatch,
            '!' if self.accept(b"=") => TokenKind::Operator(BinaryOp::Ne),
            '!' => {
                let next = quote_next(self.peek_char());
                return Err(format!("unexpected character after '!' inside braces: {next}"));
            }
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.is_brace_open = false;
                TokenKind::RightBrace
            }
            _ => return Err(format!("unexpected character inside braces: {}", quote_char(character))),
        };
        Ok(kind)
    }

    /// An identifier, a metric name with colons, or a keyword; its first character was taken.
    fn lex_word(&mut self) -> TokenKind {
        self.skip_while(|byte| byte == b':' || is_alphanumeric(byte));
        match word_token(self.word()) {
            // These three came late to the language, so they are keywords only where nothing else could stand.
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.is_paren_next() =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if self.word().contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn is_paren_next(&self) -> bool {
        self.text.as_bytes()[self.pos..].iter().find(|byte| !is_space(**byte)) == Some(&b'(')
    }

    /// A string in single or double quotes, whose first one was taken.
    fn lex_string(&mut self, quote: char) -> Lexed {
        loop {
            match self.next_char() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some('\\') => self.lex_escape(quote)?,
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                Some(character) if character == quote => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn lex_raw_string(&mut self) -> Lexed {
        loop {
            match self.next_char() {
                None => return Err("unterminated raw string".to_owned()),
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                Some('`') => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    /// An escape sequence whose backslash was taken.
    fn lex_escape(&mut self, quote: char) -> Result<(), String> {
        const NOT_TERMINATED: &str = "escape sequence not terminated";
        let Some(character) = self.peek_char() else { return Err(NOT_TERMINATED.to_owned()) };
        let (digits, base, max) = match character {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 0, 0),
            _ if character == quote => (0, 0, 0),
            '0'..='7' => (3, 8, 0xff),
            'x' => (2, 16, 0xff),
            'u' => (4, 16, 0x10_ffff),
            'U' => (8, 16, 0x10_ffff),
            _ => return Err(format!("unknown escape sequence {}", describe_code_point(character))),
        };
        if base != 8 {
            self.next_char();
        }
        let mut value = 0u32;
        for _ in 0..digits {
            let Some(character) = self.next_char() else { return Err(NOT_TERMINATED.to_owned()) };
            let Some(digit) = character.to_digit(base) else {
                return Err(format!("illegal character {} in escape sequence", describe_code_point(character)));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    /// Whether a number starts with `first`, which was taken.
    fn starts_number(&self, first: char) -> bool {
        first != '.' || self.peek_byte().is_some_and(|byte| byte.is_ascii_digit())
    }

    fn lex_number_or_duration(&mut self) -> Lexed {
        self.pos = self.start;
        if self.scan_number(NumberSyntax::Expression) {
            return Ok(TokenKind::Number);
        }
        if self.scan_duration_units() {
            return Ok(TokenKind::Duration);
        }
        Err(format!("bad number or duration syntax: {}", quote(self.word())))
    }

    /// Takes a number as far as it is one. The parser finds out whether it is valid.
    fn scan_number(&mut self, syntax: NumberSyntax) -> bool {
        let mut digits: &[u8] = b"0123456789";
        if syntax == NumberSyntax::Expression && self.accept(b"0") && self.accept(b"xX") {
            self.accept(b"_");
            digits = b"0123456789abcdefABCDEF";
        }
        let is_hex = digits.len() > 10;
        let mut has_dot = false;
        let mut has_exponent = false;
        self.accept(b".");
        self.accept(digits);
        while self.is_next(digits) || self.is_next(b"._eE") {
            if has_dot && self.accept(b".") || has_exponent && self.accept(b"eE") {
                return false;
            }
            if self.accept(b".") {
                has_dot = true;
                if self.accept(b"_.") || is_hex {
                    return false;
                }
            } else if self.accept(b"eE") {
                has_exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.peek_byte().is_none() {
                    return false;
                }
            } else if self.accept(b"_") {
                if self.accept(b"._eE") || self.peek_byte().is_none() {
                    return false;
                }
            } else {
                self.skip_while(|byte| digits.contains(&byte));
            }
        }
        let is_repeated = syntax == NumberSyntax::Series && self.is_next(b"x");
        self.pos > self.start && (is_repeated || !self.peek_byte().is_some_and(is_alphanumeric))
    }

    /// Takes the unit behind a number, and more numbers with units. The parser finds out whether they are valid.
    fn scan_duration_units(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.accept(b"0123456789") {
            self.skip_while(|byte| byte.is_ascii_digit());
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        let is_end = !self.peek_byte().is_some_and(is_alphanumeric);
        // The character that is too much is part of what the error shows.
        self.pos += usize::from(!is_end);
        is_end
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn is_alphanumeric(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// The next character in quotes; the end of input as Go prints a rune of -1.
fn quote_next(next: Option<char>) -> String {
    quote_char(next.unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// `U+0063 'c'`
fn describe_code_point(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}
