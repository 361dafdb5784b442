//! From text to rules.

use std::fmt::Write as _;

use trefoil_contract::{Error, Result};

use super::{NESTING_MAX, Node, REPETITIONS_MAX, Rule, broken};

/// Reads all rules, in their order.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>> {
    let mut parser = Parser { text, place: 0, nesting: 0 };
    let mut rules: Vec<Rule> = Vec::new();
    loop {
        parser.skip(true);
        if parser.rest().is_empty() {
            return Ok(rules);
        }
        let start = parser.place;
        let name = parser.name()?;
        parser.skip(true);
        if !parser.take("::=") {
            return parser.broken(format_args!("expected `::=` behind the name `{name}`"));
        }
        parser.skip(true);
        let node = parser.alternatives()?;
        if !parser.rest().is_empty() && !parser.at_line_end() {
            return parser.broken("expected the end of the rule");
        }
        if rules.iter().any(|rule| rule.name == name) {
            return Err(broken(text, start, format_args!("the rule `{name}` stands there twice")));
        }
        rules.push(Rule { name, node });
    }
}

struct Parser<'t> {
    text: &'t str,
    place: usize,
    nesting: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.place..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.place += character.len_utf8();
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.place += text.len();
        }
        found
    }

    fn broken<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(broken(self.text, self.place, what))
    }

    fn at_line_end(&self) -> bool {
        self.rest().starts_with(['\n', '\r'])
    }

    /// Skips spaces and comments, and line breaks too where they mean nothing.
    fn skip(&mut self, with_lines: bool) {
        loop {
            let rest = self.rest();
            let length = match rest.chars().next() {
                Some(' ' | '\t') => 1,
                Some('\n' | '\r') if with_lines => 1,
                Some('#') => rest.find(['\n', '\r']).unwrap_or(rest.len()),
                _ => return,
            };
            self.place += length;
        }
    }

    fn name(&mut self) -> Result<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let rest = self.rest();
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            return self.broken("expected the name of a rule");
        }
        self.place += length;
        Ok(rest[..length].to_owned())
    }

    /// What stands on both sides of bars. A line may end behind a bar, and before one; inside
    /// parentheses anywhere.
    fn alternatives(&mut self) -> Result<Node> {
        let mut alternatives = vec![self.sequence()?];
        loop {
            let before = self.place;
            self.skip(true);
            if !self.take("|") {
                if self.nesting == 0 {
                    self.place = before;
                }
                break;
            }
            self.skip(true);
            alternatives.push(self.sequence()?);
        }
        Ok(match alternatives.len() {
            1 => alternatives.remove(0),
            _ => Node::Alternatives(alternatives),
        })
    }

    fn sequence(&mut self) -> Result<Node> {
        let mut nodes = Vec::new();
        loop {
            self.skip(self.nesting > 0);
            let start = self.place;
            let mut node = match self.peek() {
                Some('"') => Node::Expression(self.literal()?),
                Some('[') => Node::Expression(self.class()?),
                Some('.') => {
                    self.next();
                    Node::Expression("(?s:.)".into())
                }
                Some('(') => self.group()?,
                Some('<') => self.token()?,
                Some('!') => {
                    return Err(Error::unsupported(format_args!(
                        "`!` before a token in a grammar; {}",
                        broken(self.text, start, "name the tokens that may come")
                    )));
                }
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => Node::Rule(self.name()?, start),
                _ => break,
            };
            while let Some((least, most)) = self.repetition()? {
                node = Node::Repeated(Box::new(node), least, most);
            }
            nodes.push(node);
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    fn group(&mut self) -> Result<Node> {
        self.next();
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return self.broken(format_args!("more than {NESTING_MAX} open parentheses"));
        }
        self.skip(true);
        let node = self.alternatives()?;
        self.skip(true);
        if !self.take(")") {
            return self.broken("expected `)`");
        }
        self.nesting -= 1;
        Ok(node)
    }

    /// `<name>` or `<[number]>`, as Lark writes them too.
    fn token(&mut self) -> Result<Node> {
        let rest = self.rest();
        match rest.find(['>', '\n', ' ']) {
            Some(end) if rest[end..].starts_with('>') => {
                self.place += end + 1;
                Ok(Node::Token(rest[..=end].to_owned()))
            }
            _ => self.broken("expected `>` at the end of a token's name"),
        }
    }

    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>> {
        let before = self.place;
        self.skip(self.nesting > 0);
        let found = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.next();
                let least = self.number()?.unwrap_or(0);
                let most = if self.take(",") { self.number()? } else { Some(least) };
                if self.peek() != Some('}') || most.is_some_and(|most| most < least) {
                    return self.broken("expected `{m}`, `{m,}` or `{m,n}` with n from m on");
                }
                (least, most)
            }
            _ => {
                self.place = before;
                return Ok(None);
            }
        };
        self.next();
        Ok(Some(found))
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if length == 0 {
            return Ok(None);
        }
        let number = rest[..length].parse().ok().filter(|number| *number <= REPETITIONS_MAX);
        self.place += length;
        match number {
            Some(number) => Ok(Some(number)),
            None => self.broken(format_args!("a number of at most {REPETITIONS_MAX}")),
        }
    }

    fn literal(&mut self) -> Result<String> {
        let start = self.place;
        self.next();
        let mut expression = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(expression),
                Some('\\') => push(&mut expression, self.escape()?),
                Some('\n') | None => return Err(broken(self.text, start, "a text without an end")),
                Some(character) => push(&mut expression, character),
            }
        }
    }

    fn class(&mut self) -> Result<String> {
        let start = self.place;
        self.next();
        let mut class = String::from("[");
        if self.take("^") {
            class.push('^');
        }
        let empty = class.len();
        while !self.take("]") {
            let first = self.in_class(start)?;
            push(&mut class, first);
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.next();
                let last = self.in_class(start)?;
                if last < first {
                    return self.broken("a range from a larger to a smaller character");
                }
                class.push('-');
                push(&mut class, last);
            }
        }
        if class.len() == empty {
            return Err(broken(self.text, start, "a class without characters"));
        }
        class.push(']');
        Ok(class)
    }

    fn in_class(&mut self, start: usize) -> Result<char> {
        match self.next() {
            Some('\\') => self.escape(),
            Some('\n') | None => Err(broken(self.text, start, "a class without an end")),
            Some(character) => Ok(character),
        }
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<char> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(same @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/' | '\'')) => return Ok(same),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return self.broken("an unknown escape"),
        };
        let code = self.rest().get(..digits).and_then(|code| u32::from_str_radix(code, 16).ok());
        match code.and_then(char::from_u32) {
            Some(character) => {
                self.place += digits;
                Ok(character)
            }
            None => {
                self.broken(format_args!("expected a character in {digits} hexadecimal digits"))
            }
        }
    }
}

/// Appends a character to an expression, as text.
fn push(expression: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        expression.push(character);
    } else {
        // Writing to a string does not fail.
        let _ = write!(expression, r"\x{{{:X}}}", u32::from(character));
    }
}
