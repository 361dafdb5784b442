//! From rules to Lark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use trefoil_contract::Result;

use super::super::depth::check_depth;
use super::{Node, Rule, broken};

/// Writes the rules that `root` needs.
pub(super) fn write(rules: &[Rule], text: &str) -> Result<String> {
    let names: BTreeMap<&str, usize> =
        rules.iter().enumerate().map(|(index, rule)| (rule.name.as_str(), index)).collect();
    let Some(&root) = names.get("root") else {
        return Err(broken(text, 0, "there is no rule `root`"));
    };
    let mut references = Vec::with_capacity(rules.len());
    for rule in rules {
        let mut found = Vec::new();
        rule.node.references(&mut found);
        if let Some((name, place)) = found.iter().find(|(name, _)| !names.contains_key(name)) {
            return Err(broken(text, *place, format_args!("there is no rule `{name}`")));
        }
        references.push(found.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    check_depth("root", |name| references[names[name]].as_slice())?;
    let finite = least(rules, |node, finite| node.is_finite(finite));
    if !finite.contains("root") {
        return Err(broken(text, 0, "no text of finite length satisfies the rule `root`"));
    }
    let regular = least(rules, |node, regular| node.is_regular(regular));
    let mut writer = Writer { names, finite, regular, stretches: Vec::new(), out: String::new() };
    let _ = writeln!(writer.out, "start: {}", writer.name("root"));
    for (index, rule) in rules.iter().enumerate() {
        if !writer.finite.contains(rule.name.as_str()) && index != root {
            continue;
        }
        let is_regular = writer.regular.contains(rule.name.as_str());
        let node = match is_regular {
            true => writer.terminal(&rule.node),
            false => writer.rule(&rule.node),
        };
        let _ = writeln!(writer.out, "{}: {node}", writer.name(&rule.name));
    }
    for (index, stretch) in writer.stretches.iter().enumerate() {
        let _ = writeln!(writer.out, "S{index}: {stretch}");
    }
    Ok(writer.out)
}

/// The names of the rules that have a property which follows from other rules' having it.
fn least<'r>(
    rules: &'r [Rule],
    has: impl Fn(&Node, &BTreeSet<&'r str>) -> bool,
) -> BTreeSet<&'r str> {
    let mut found = BTreeSet::new();
    loop {
        let more: Vec<_> = rules
            .iter()
            .filter(|rule| !found.contains(rule.name.as_str()) && has(&rule.node, &found))
            .map(|rule| rule.name.as_str())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

impl Node {
    fn references<'n>(&'n self, found: &mut Vec<(&'n str, usize)>) {
        match self {
            Node::Expression(_) | Node::Token(_) => {}
            Node::Rule(name, place) => found.push((name, *place)),
            Node::Sequence(nodes) | Node::Alternatives(nodes) => {
                nodes.iter().for_each(|node| node.references(found));
            }
            Node::Repeated(node, ..) => node.references(found),
        }
    }

    /// Whether some text of finite length satisfies it.
    fn is_finite(&self, finite: &BTreeSet<&str>) -> bool {
        match self {
            Node::Expression(_) | Node::Token(_) => true,
            Node::Rule(name, _) => finite.contains(name.as_str()),
            Node::Sequence(nodes) => nodes.iter().all(|node| node.is_finite(finite)),
            Node::Alternatives(nodes) => nodes.iter().any(|node| node.is_finite(finite)),
            Node::Repeated(node, least, _) => *least == 0 || node.is_finite(finite),
        }
    }

    /// Whether it is a terminal: text without recursion.
    fn is_regular(&self, regular: &BTreeSet<&str>) -> bool {
        match self {
            Node::Expression(_) => true,
            Node::Token(_) => false,
            Node::Rule(name, _) => regular.contains(name.as_str()),
            Node::Sequence(nodes) | Node::Alternatives(nodes) => {
                nodes.iter().all(|node| node.is_regular(regular))
            }
            Node::Repeated(node, ..) => node.is_regular(regular),
        }
    }
}

struct Writer<'r> {
    names: BTreeMap<&'r str, usize>,
    finite: BTreeSet<&'r str>,
    regular: BTreeSet<&'r str>,
    /// Terminals for stretches of rules.
    stretches: Vec<String>,
    out: String,
}

impl Writer<'_> {
    fn name(&self, rule: &str) -> String {
        let letter = if self.regular.contains(rule) { 'T' } else { 'r' };
        format!("{letter}{}", self.names.get(rule).copied().unwrap_or_default())
    }

    /// The part of alternatives that a text of finite length can satisfy.
    fn kept<'n>(&self, nodes: &'n [Node]) -> Vec<&'n Node> {
        nodes.iter().filter(|node| node.is_finite(&self.finite)).collect()
    }

    fn terminal(&mut self, node: &Node) -> String {
        match node {
            Node::Expression(text) => expression(text),
            Node::Token(name) => name.clone(),
            Node::Rule(name, _) => self.name(name),
            Node::Sequence(nodes) if nodes.is_empty() => "\"\"".into(),
            Node::Sequence(nodes) => {
                let parts: Vec<_> = nodes.iter().map(|node| self.terminal(node)).collect();
                format!("({})", parts.join(" "))
            }
            Node::Alternatives(nodes) => {
                let kept = self.kept(nodes);
                let parts: Vec<_> = kept.into_iter().map(|node| self.terminal(node)).collect();
                format!("({})", parts.join(" | "))
            }
            Node::Repeated(node, least, most) => repeated(&self.terminal(node), *least, *most),
        }
    }

    /// What is not regular as a whole.
    fn rule(&mut self, node: &Node) -> String {
        if node.is_regular(&self.regular) {
            return self.stretch(std::slice::from_ref(node));
        }
        match node {
            Node::Sequence(nodes) => {
                let mut parts = Vec::new();
                let alike =
                    |a: &Node, b: &Node| a.is_regular(&self.regular) && b.is_regular(&self.regular);
                let runs: Vec<_> = nodes.chunk_by(alike).collect();
                for run in runs {
                    parts.push(match run {
                        [node] => self.rule(node),
                        run => self.stretch(run),
                    });
                }
                format!("({})", parts.join(" "))
            }
            Node::Alternatives(nodes) => {
                let kept = self.kept(nodes);
                let parts: Vec<_> = kept.into_iter().map(|node| self.rule(node)).collect();
                format!("({})", parts.join(" | "))
            }
            // What cannot be is not repeated.
            Node::Repeated(node, 0, _) if !node.is_finite(&self.finite) => "\"\"".into(),
            Node::Repeated(node, least, most) => repeated(&self.rule(node), *least, *most),
            Node::Expression(_) | Node::Token(_) | Node::Rule(..) => self.terminal(node),
        }
    }

    /// A terminal of its own for regular nodes one after the other.
    fn stretch(&mut self, nodes: &[Node]) -> String {
        if let [Node::Rule(name, _)] = nodes {
            return self.name(name);
        }
        let parts: Vec<_> = nodes.iter().map(|node| self.terminal(node)).collect();
        let parts = parts.join(" ");
        let known = self.stretches.iter().position(|stretch| *stretch == parts);
        let index = known.unwrap_or_else(|| {
            self.stretches.push(parts);
            self.stretches.len() - 1
        });
        format!("S{index}")
    }
}

/// An expression between slashes; without any, `//` would begin a comment.
fn expression(text: &str) -> String {
    match text {
        "" => "\"\"".into(),
        text => format!("/{text}/"),
    }
}

fn repeated(part: &str, least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => format!("({part})*"),
        (1, None) => format!("({part})+"),
        (0, Some(1)) => format!("({part})?"),
        (least, None) => format!("({part}){{{least},}}"),
        (least, Some(most)) => format!("({part}){{{least},{most}}}"),
    }
}
