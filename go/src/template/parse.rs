//! Tokens to trees.
//!
//! The order in which tokens are looked at is part of the contract: the line number in a message is that of the token
//! read last, look-ahead included. Source: Go, package text/template/parse; the messages are its own.

use std::collections::HashMap;

use super::TemplateError;
use super::ast::{Branches, Command, List, Node, Operand, OperandKind, Pipe, Range, TemplateCall, Tree, is_empty};
use super::functions::Functions;
use super::lex::{Lexer, Token, TokenKind};
use super::number::{Number, unquote};
use crate::quote::Quoted;

/// How deep parentheses, and blocks, may nest. Parsing and execution recurse, and templates come from anyone.
pub(super) const NESTING_MAX: usize = 100;

/// Parses `text` and gives its trees, the main one first.
pub(super) fn parse(name: &str, text: &str, functions: &Functions) -> Result<Vec<Tree>, TemplateError> {
    let mut parser = Parser {
        name,
        lexer: Lexer::new(text),
        functions,
        scope: Scope::new(),
        block_depth: 0,
        trees: vec![Tree { name: name.to_owned(), body: List::new() }],
        by_name: HashMap::new(),
    };
    let body =
        parser.parse_main().map_err(|message| TemplateError::parse(name, parser.scope.tokens[0].line, &message))?;
    let mut trees = parser.trees;
    // A template may define one of its own name; the text that is not blank wins, as in Go.
    if !is_empty(&body) || trees[0].body.is_empty() {
        if !is_empty(&trees[0].body) {
            let message = format!("template: multiple definition of template {}", Quoted(name));
            return Err(TemplateError::parse(name, parser.scope.tokens[0].line, &message));
        }
        trees[0].body = body;
    }
    let by_name: HashMap<String, usize> =
        trees.iter().enumerate().map(|(idx, tree)| (tree.name.clone(), idx)).collect();
    for tree in &mut trees {
        resolve(&mut tree.body, &by_name);
    }
    Ok(trees)
}

/// Connects `{{template "x"}}` with its tree, now that all are known.
fn resolve(list: &mut List, by_name: &HashMap<String, usize>) {
    for node in list {
        match node {
            Node::If(branches) | Node::With(branches) => {
                branches.arms.iter_mut().for_each(|arm| resolve(&mut arm.1, by_name));
                resolve(&mut branches.otherwise, by_name);
            }
            Node::Range(range) => {
                resolve(&mut range.body, by_name);
                resolve(&mut range.otherwise, by_name);
            }
            Node::Call(call) => call.target = by_name.get(&call.name).copied(),
            Node::Text(_) | Node::Field(..) | Node::Action(_) | Node::Break | Node::Continue => {}
        }
    }
}

/// The message of a mistake, without place.
type Result<T, E = String> = std::result::Result<T, E>;

struct Parser<'t> {
    name: &'t str,
    lexer: Lexer<'t>,
    functions: &'t Functions,
    scope: Scope,
    block_depth: usize,
    trees: Vec<Tree>,
    by_name: HashMap<String, usize>,
}

/// What each definition has for itself.
struct Scope {
    /// Look-ahead; `tokens[peeked - 1]` comes next.
    tokens: [Token; 3],
    peeked: usize,
    /// Names of the variables in sight, with their dollar.
    variables: Vec<String>,
    range_depth: usize,
    paren_depth: usize,
    /// Line of the action under way; 0: none.
    action_line: usize,
}

impl Scope {
    fn new() -> Self {
        // Line 0 shows in messages about a definition of which no token has been read.
        let none = || Token { kind: TokenKind::Error, pos: 0, text: String::new(), line: 0 };
        Self {
            tokens: [none(), none(), none()],
            peeked: 0,
            variables: vec!["$".to_owned()],
            range_depth: 0,
            paren_depth: 0,
            action_line: 0,
        }
    }
}

/// How a list of nodes ended.
enum Ending {
    End,
    /// `{{else}}`; with `{{else if`, `{{else with`, the `if` or `with` comes next.
    Else,
}

impl Ending {
    fn text(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// What an action turned out to be.
enum Item {
    Node(Node),
    Ending(Ending),
}

impl Parser<'_> {
    fn next(&mut self) -> Token {
        if self.scope.peeked > 0 {
            self.scope.peeked -= 1;
        } else {
            self.scope.tokens[0] = self.lexer.next_token();
        }
        self.scope.tokens[self.scope.peeked].clone()
    }

    fn backup(&mut self) {
        self.scope.peeked += 1;
    }

    /// Puts `token` back in front of the one token that is there again.
    fn backup2(&mut self, token: Token) {
        self.scope.tokens[1] = token;
        self.scope.peeked = 2;
    }

    /// Puts `first`, then `second` back in front of the one token that is there again.
    fn backup3(&mut self, first: Token, second: Token) {
        self.scope.tokens[1] = second;
        self.scope.tokens[2] = first;
        self.scope.peeked = 3;
    }

    fn peek(&mut self) -> &Token {
        if self.scope.peeked == 0 {
            self.scope.peeked = 1;
            self.scope.tokens[0] = self.lexer.next_token();
        }
        &self.scope.tokens[self.scope.peeked - 1]
    }

    fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != TokenKind::Space {
                return token;
            }
        }
    }

    fn peek_non_space(&mut self) -> Token {
        let token = self.next_non_space();
        self.backup();
        token
    }

    fn expect(&mut self, kind: TokenKind, context: &str) -> Result<Token> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        if token.kind != TokenKind::Error {
            return format!("unexpected {token} in {context}");
        }
        let action_line = self.scope.action_line;
        if action_line == 0 || action_line == token.line {
            return token.to_string();
        }
        // "unclosed action started at", not "unclosed action in action started at".
        let joint = if token.text.ends_with(" action") { "" } else { " in action" };
        format!("{token}{joint} started at {}:{action_line}", self.name)
    }

    fn parse_main(&mut self) -> Result<List> {
        let mut body = List::new();
        while self.peek().kind != TokenKind::Eof {
            if self.peek().kind == TokenKind::LeftDelim {
                let delim = self.next();
                if self.next_non_space().kind == TokenKind::Define {
                    self.parse_definition()?;
                    continue;
                }
                self.backup2(delim);
            }
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                Item::Ending(ending) => return Err(format!("unexpected {}", ending.text())),
            }
        }
        Ok(body)
    }

    /// Runs `parse` as a definition of its own: other variables, other look-ahead. On failure the state stays that of
    /// the definition, for the line of the message.
    fn in_own_scope<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = std::mem::replace(&mut self.scope, Scope::new());
        let value = parse(self)?;
        self.scope = outer;
        Ok(value)
    }

    /// `{{define "name"}}…{{end}}`, the keyword is read.
    fn parse_definition(&mut self) -> Result<()> {
        const CONTEXT: &str = "define clause";
        self.in_own_scope(|parser| {
            let token = parser.next_non_space();
            let name = parser.template_name(&token, CONTEXT)?;
            parser.expect(TokenKind::RightDelim, CONTEXT)?;
            parser.definition_body(name, CONTEXT)
        })
    }

    fn definition_body(&mut self, name: String, context: &str) -> Result<()> {
        match self.item_list()? {
            (body, Ending::End) => self.add_tree(name, body),
            (_, ending) => Err(format!("unexpected {} in {context}", ending.text())),
        }
    }

    fn add_tree(&mut self, name: String, body: List) -> Result<()> {
        let idx = match self.by_name.get(&name) {
            Some(idx) => *idx,
            None if name == self.name => 0,
            None => {
                self.trees.push(Tree { name: name.clone(), body: List::new() });
                self.trees.len() - 1
            }
        };
        let known = self.by_name.insert(name, idx).is_some();
        let tree = &mut self.trees[idx];
        if !known || is_empty(&tree.body) {
            tree.body = body;
        } else if !is_empty(&body) {
            return Err(format!("template: multiple definition of template {}", Quoted(&tree.name)));
        }
        Ok(())
    }

    fn item_list(&mut self) -> Result<(List, Ending)> {
        self.block_depth += 1;
        if self.block_depth > NESTING_MAX {
            return Err("max block depth exceeded".to_owned());
        }
        let mut list = List::new();
        while self.peek_non_space().kind != TokenKind::Eof {
            match self.text_or_action()? {
                Item::Node(node) => list.push(node),
                Item::Ending(ending) => {
                    self.block_depth -= 1;
                    return Ok((list, ending));
                }
            }
        }
        Err("unexpected EOF".to_owned())
    }

    fn text_or_action(&mut self) -> Result<Item> {
        let token = self.next_non_space();
        match token.kind {
            TokenKind::Text => Ok(Item::Node(Node::Text(token.text.into()))),
            TokenKind::LeftDelim => {
                self.scope.action_line = token.line;
                let item = self.action()?;
                self.scope.action_line = 0;
                Ok(item)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item> {
        let token = self.next_non_space();
        let node = match token.kind {
            TokenKind::Block => self.block_control()?,
            TokenKind::Break => {
                self.loop_control("{{break}}")?;
                Node::Break
            }
            TokenKind::Continue => {
                self.loop_control("{{continue}}")?;
                Node::Continue
            }
            TokenKind::Else => {
                let next = self.peek_non_space().kind;
                if !matches!(next, TokenKind::If | TokenKind::With) {
                    self.expect(TokenKind::RightDelim, "else")?;
                }
                return Ok(Item::Ending(Ending::Else));
            }
            TokenKind::End => {
                self.expect(TokenKind::RightDelim, "end")?;
                return Ok(Item::Ending(Ending::End));
            }
            TokenKind::If => Node::If(self.branches("if", TokenKind::If)?),
            TokenKind::With => Node::With(self.branches("with", TokenKind::With)?),
            TokenKind::Range => self.range_control()?,
            TokenKind::Template => self.template_control()?,
            _ => {
                self.backup();
                // Variables declared here stay in sight until the block ends.
                action_node(self.pipeline("command", TokenKind::RightDelim)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn loop_control(&mut self, context: &str) -> Result<()> {
        let token = self.next_non_space();
        if token.kind != TokenKind::RightDelim {
            return Err(self.unexpected(&token, context));
        }
        if self.scope.range_depth == 0 {
            return Err(format!("{context} outside {{{{range}}}}"));
        }
        Ok(())
    }

    /// `if` and `with`; the chain of `else if` is one node, however long.
    fn branches(&mut self, context: &str, keyword: TokenKind) -> Result<Branches> {
        let variables = self.scope.variables.len();
        let mut branches = Branches { arms: Vec::new(), otherwise: List::new() };
        loop {
            let pipe = self.pipeline(context, TokenKind::RightDelim)?;
            let (body, ending) = self.item_list()?;
            branches.arms.push((pipe, body));
            if matches!(ending, Ending::End) {
                break;
            }
            if self.peek().kind == keyword {
                self.next();
                continue;
            }
            branches.otherwise = self.else_list()?;
            break;
        }
        self.scope.variables.truncate(variables);
        Ok(branches)
    }

    fn else_list(&mut self) -> Result<List> {
        match self.item_list()? {
            (list, Ending::End) => Ok(list),
            (_, ending) => Err(format!("expected end; found {}", ending.text())),
        }
    }

    fn range_control(&mut self) -> Result<Node> {
        let variables = self.scope.variables.len();
        let pipe = self.pipeline("range", TokenKind::RightDelim)?;
        self.scope.range_depth += 1;
        let (body, ending) = self.item_list()?;
        self.scope.range_depth -= 1;
        let otherwise = match ending {
            Ending::End => List::new(),
            Ending::Else => self.else_list()?,
        };
        self.scope.variables.truncate(variables);
        Ok(Node::Range(Box::new(Range { pipe, body, otherwise })))
    }

    /// `{{block "name" pipeline}}…{{end}}`: a definition and its call.
    fn block_control(&mut self) -> Result<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, TokenKind::RightDelim)?;
        self.in_own_scope(|parser| parser.definition_body(name.clone(), CONTEXT))?;
        Ok(Node::Call(TemplateCall { pos: token.pos, name, target: None, pipe: Some(pipe) }))
    }

    fn template_control(&mut self) -> Result<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let mut pipe = None;
        if self.next_non_space().kind != TokenKind::RightDelim {
            self.backup();
            pipe = Some(self.pipeline(CONTEXT, TokenKind::RightDelim)?);
        }
        Ok(Node::Call(TemplateCall { pos: token.pos, name, target: None, pipe }))
    }

    fn template_name(&mut self, token: &Token, context: &str) -> Result<String> {
        if !matches!(token.kind, TokenKind::String | TokenKind::RawString) {
            return Err(self.unexpected(token, context));
        }
        let name = unquote(&token.text).ok_or("invalid syntax")?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// Declarations, then commands between `|`, up to `end`, which is read.
    fn pipeline(&mut self, context: &str, end: TokenKind) -> Result<Pipe> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, declared: Vec::new(), is_assignment: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            if token.kind == end {
                break;
            }
            if !starts_operand(token.kind) {
                return Err(self.unexpected(&token, context));
            }
            self.backup();
            pipe.commands.push(self.command()?);
        }
        if pipe.commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        // Only the first command may be a plain value: nothing can be piped into one.
        let is_constant = |command: &Command| {
            use OperandKind as O;
            matches!(command.args[0].kind, O::Bool(_) | O::Dot | O::Nil | O::Number(_) | O::String(..))
        };
        if let Some(idx) = pipe.commands.iter().skip(1).position(is_constant) {
            return Err(format!("non executable command in pipeline stage {}", idx + 2));
        }
        Ok(pipe)
    }

    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != TokenKind::Variable {
                return Ok(());
            }
            self.next();
            // A blank is a token, so up to three of them tell "$x := 1" from "$x 1".
            let adjacent = self.peek().clone();
            let next = self.peek_non_space();
            match next.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    pipe.is_assignment = next.kind == TokenKind::Assign;
                    self.next_non_space();
                    self.declare(pipe, variable.text);
                    return Ok(());
                }
                TokenKind::Char if next.text == "," => {
                    self.next_non_space();
                    self.declare(pipe, variable.text);
                    if context != "range" || pipe.declared.len() >= 2 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    let after = self.peek_non_space().kind;
                    if !matches!(after, TokenKind::Variable | TokenKind::RightDelim | TokenKind::RightParen) {
                        return Err("range can only initialize variables".to_owned());
                    }
                }
                _ if adjacent.kind == TokenKind::Space => {
                    self.backup3(variable, adjacent);
                    return Ok(());
                }
                _ => {
                    self.backup2(variable);
                    return Ok(());
                }
            }
        }
    }

    fn declare(&mut self, pipe: &mut Pipe, name: String) {
        pipe.declared.push(name.as_str().into());
        self.scope.variables.push(name);
    }

    fn command(&mut self) -> Result<Command> {
        let pos = self.peek_non_space().pos;
        let mut args = Vec::new();
        loop {
            self.peek_non_space();
            args.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::RightDelim | TokenKind::RightParen => self.backup(),
                TokenKind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if args.is_empty() {
            return Err("empty command".to_owned());
        }
        Ok(Command { pos, args })
    }

    /// A term and the fields behind it. `None`: the next token starts no operand.
    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != TokenKind::Field {
            return Ok(Some(operand));
        }
        let pos = self.peek().pos;
        let mut fields: Vec<Box<str>> = Vec::new();
        while self.peek().kind == TokenKind::Field {
            let token = self.next();
            fields.push(token.text[1..].into());
        }
        match &mut operand.kind {
            // More names for the same walk, which is then placed where they begin.
            OperandKind::Field(names) | OperandKind::Variable(_, names) => {
                names.append(&mut fields);
                operand.pos = pos;
            }
            OperandKind::Bool(_)
            | OperandKind::String(..)
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                return Err(format!("unexpected . after term {}", Quoted(&operand.to_string())));
            }
            _ => operand = Operand { pos, kind: OperandKind::Chain(Box::new(operand), fields) },
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            TokenKind::Identifier => match self.functions.get(&token.text) {
                Some(function) => OperandKind::Function(function),
                None => return Err(format!("function {} not defined", Quoted(&token.text))),
            },
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Nil => OperandKind::Nil,
            TokenKind::Variable => {
                if !self.scope.variables.contains(&token.text) {
                    return Err(format!("undefined variable {}", Quoted(&token.text)));
                }
                OperandKind::Variable(token.text.into(), Vec::new())
            }
            TokenKind::Field => OperandKind::Field(vec![token.text[1..].into()]),
            TokenKind::Bool => OperandKind::Bool(token.text == "true"),
            TokenKind::CharConstant => OperandKind::Number(Box::new(Number::parse_char(&token.text)?)),
            TokenKind::Complex => OperandKind::Number(Box::new(Number::parse_complex(&token.text)?)),
            TokenKind::Number => OperandKind::Number(Box::new(Number::parse(&token.text)?)),
            TokenKind::LeftParen => {
                if self.scope.paren_depth >= NESTING_MAX {
                    return Err("max expression depth exceeded".to_owned());
                }
                self.scope.paren_depth += 1;
                let pipe = self.pipeline("parenthesized pipeline", TokenKind::RightParen)?;
                self.scope.paren_depth -= 1;
                // A pipeline stands where its first token does.
                return Ok(Some(Operand { pos: pipe.pos, kind: OperandKind::Paren(Box::new(pipe)) }));
            }
            TokenKind::String | TokenKind::RawString => {
                let value = unquote(&token.text).ok_or("invalid syntax")?;
                OperandKind::String(token.text.into(), value.into())
            }
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: token.pos, kind }))
    }
}

fn starts_operand(kind: TokenKind) -> bool {
    use TokenKind as K;
    matches!(
        kind,
        K::Bool | K::CharConstant | K::Complex | K::Dot | K::Field | K::Identifier | K::Number | K::Nil | K::RawString
    ) || matches!(kind, K::String | K::Variable | K::LeftParen)
}

/// Tells the plain `{{.name}}` from all other actions.
fn action_node(pipe: Pipe) -> Node {
    if pipe.declared.is_empty()
        && let [Command { args, .. }] = &pipe.commands[..]
        && let [Operand { kind: OperandKind::Field(names), .. }] = &args[..]
        && let [name] = &names[..]
    {
        return Node::Field(name.clone(), pipe);
    }
    Node::Action(pipe)
}
