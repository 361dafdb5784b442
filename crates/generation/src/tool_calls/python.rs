//! Calls in Python's syntax, as Gemma writes them in blocks of code.

/// Deepest nesting of lists and dictionaries.
const DEPTH_MAX: usize = 32;

/// A call: its name and its arguments as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PythonCall {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// Reads calls with arguments by name and literals as values, one a line or in a list; each may stand
/// inside `print()`. `None` if there is anything else, or a name that `is_tool` does not know: with
/// dots in it, its last part counts as well.
pub(super) fn calls(code: &str, is_tool: impl Fn(&str) -> bool) -> Option<Vec<PythonCall>> {
    let mut reader = Reader { rest: code };
    reader.skip_blanks();
    let is_list = reader.take("[");
    let mut calls = Vec::new();
    loop {
        reader.skip_blanks();
        if !calls.is_empty() && reader.rest.is_empty() | (is_list && reader.rest.starts_with(']')) {
            break;
        }
        calls.push(reader.call(&is_tool)?);
        reader.skip_blanks();
        if is_list && !reader.take(",") {
            break;
        }
    }
    if is_list && !reader.take("]") {
        return None;
    }
    reader.skip_blanks();
    reader.rest.is_empty().then_some(calls)
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name with dots.
    fn name(&mut self) -> Option<&'t str> {
        self.skip_blanks();
        let is_name = |c: char| c == '_' || c == '.' || c.is_alphanumeric();
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
    }

    fn call(&mut self, is_tool: &impl Fn(&str) -> bool) -> Option<PythonCall> {
        let mut name = self.name()?;
        let is_printed = name == "print" && !is_tool(name);
        if is_printed {
            if !self.take("(") {
                return None;
            }
            name = self.name()?;
        }
        if !is_tool(name) {
            name = name.rsplit('.').next().filter(|name| is_tool(name))?;
        }
        if !self.take("(") {
            return None;
        }
        let mut arguments = String::from("{");
        let mut keys = Vec::new();
        while !self.take(")") {
            if !keys.is_empty() {
                arguments.push_str(", ");
            }
            let key = self.name()?;
            if keys.contains(&key) || !self.take("=") {
                return None;
            }
            keys.push(key);
            arguments.push_str(&quoted(key)?);
            arguments.push_str(": ");
            self.value(&mut arguments, 0)?;
            if !self.take(",") && !self.rest.starts_with(')') {
                return None;
            }
        }
        arguments.push('}');
        if is_printed && !self.take(")") {
            return None;
        }
        Some(PythonCall { name: name.to_owned(), arguments })
    }

    /// A literal, as JSON.
    fn value(&mut self, json: &mut String, depth: usize) -> Option<()> {
        self.skip_blanks();
        match self.rest.chars().next()? {
            '"' | '\'' => json.push_str(&quoted(&self.text()?)?),
            '[' => self.list(json, depth, ("[", "]"))?,
            '(' => self.list(json, depth, ("(", ")"))?,
            '{' => self.dictionary(json, depth)?,
            '-' | '0'..='9' => json.push_str(self.number()?),
            _ => json.push_str(match self.name()? {
                "True" | "true" => "true",
                "False" | "false" => "false",
                "None" | "null" => "null",
                _ => return None,
            }),
        }
        Some(())
    }

    /// A list or a tuple.
    fn list(&mut self, json: &mut String, depth: usize, (open, close): (&str, &str)) -> Option<()> {
        if depth == DEPTH_MAX || !self.take(open) {
            return None;
        }
        json.push('[');
        let mut is_first = true;
        while !self.take(close) {
            if !is_first {
                json.push_str(", ");
            }
            is_first = false;
            self.value(json, depth + 1)?;
            if !self.take(",") && !self.rest.starts_with(close) {
                return None;
            }
        }
        json.push(']');
        Some(())
    }

    fn dictionary(&mut self, json: &mut String, depth: usize) -> Option<()> {
        if depth == DEPTH_MAX || !self.take("{") {
            return None;
        }
        json.push('{');
        let mut is_first = true;
        while !self.take("}") {
            if !is_first {
                json.push_str(", ");
            }
            is_first = false;
            self.skip_blanks();
            json.push_str(&quoted(&self.text()?)?);
            json.push_str(": ");
            if !self.take(":") {
                return None;
            }
            self.value(json, depth + 1)?;
            if !self.take(",") && !self.rest.starts_with('}') {
                return None;
            }
        }
        json.push('}');
        Some(())
    }

    /// A text in quotes of either kind.
    fn text(&mut self) -> Option<String> {
        let mut characters = self.rest.chars();
        let quote = characters.next().filter(|first| "\"'".contains(*first))?;
        let mut text = String::new();
        loop {
            match characters.next()? {
                end if end == quote => break,
                '\\' => text.push(match characters.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    same @ ('\\' | '\'' | '"') => same,
                    _ => return None,
                }),
                '\n' => return None,
                other => text.push(other),
            }
        }
        self.rest = characters.as_str();
        Some(text)
    }

    /// A number as JSON writes it.
    fn number(&mut self) -> Option<&'t str> {
        let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let end = self.rest.find(|c| !is_number(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        serde_json::from_str::<serde_json::Number>(number).ok()?;
        self.rest = rest;
        Some(number)
    }
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::calls;

    fn read(code: &str) -> Option<Vec<(String, String)>> {
        let calls = calls(code, |name| ["convert", "now"].contains(&name))?;
        Some(calls.into_iter().map(|call| (call.name, call.arguments)).collect())
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.into(), arguments.into())
    }

    #[test]
    fn literals_become_json() {
        let code = "convert(a=1, b=-2.5e3, c='it\\'s \"x\"', d=[True, None, (1,)], e={'k': {}})\n";
        let arguments = r#"{"a": 1, "b": -2.5e3, "c": "it's \"x\"", "d": [true, null, [1]], "#
            .to_owned()
            + r#""e": {"k": {}}}"#;
        assert_eq!(read(code), Some(vec![call("convert", &arguments)]));
    }

    #[test]
    fn calls_stand_in_lines_in_lists_and_in_print() {
        let both = Some(vec![call("now", "{}"), call("convert", r#"{"a": "b"}"#)]);
        for code in [
            "now()\nconvert(a=\"b\")",
            "[now(), convert(a='b')]",
            "print(default_api.now())\nprint(convert(a='b',))",
        ] {
            assert_eq!(read(code), both, "{code}");
        }
    }

    #[test]
    fn other_code_is_no_call() {
        for code in [
            "",
            "1 + 1",
            "other()",
            "now",
            "now(1)",
            "now(a=x)",
            "now(a=1, a=2)",
            "now(a=01)",
            "x = now()",
            "now())",
            "[now()",
            "now(a='b",
            "print(1)",
            "now(a={1: 2})",
        ] {
            assert_eq!(read(code), None, "{code}");
        }
        assert_eq!(read(&format!("now(a={})", "[".repeat(100_000))), None);
    }
}
