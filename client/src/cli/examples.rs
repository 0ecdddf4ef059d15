//! What the examples in a command's help must be: there for every command, in lines that no terminal breaks, and such that
//! the command takes them. The tests of `vermiliond` and `vermilion-testnet` take this file in, too, beside a `Cli` of their own.

use super::Cli;
use clap::{ArgMatches, Command, CommandFactory as _};

/// The widest line, in columns. Help is wrapped at the terminal's width, which is 80 at times, and what is broken in two
/// does not run when it is copied.
const WIDEST: usize = 79;

/// What is amiss with the help of a command and of those below it; an entry each.
fn amiss(root: &Command) -> Vec<String> {
    let mut out = Vec::new();
    look(root, root, root.get_name(), &mut out);
    out
}

fn look(root: &Command, of: &Command, path: &str, out: &mut Vec<String>) {
    let help = of.get_after_help().map(ToString::to_string).unwrap_or_default();
    out.extend(help.lines().filter(|line| width(line) > WIDEST).map(|line| format!("{path}: too wide: {line}")));
    let mut has_own = false;
    for example in examples(&help, root.get_name()) {
        match root.clone().try_get_matches_from(words(&example)) {
            Ok(matches) => has_own |= called(root.get_name(), &matches) == path,
            Err(error) => out.push(format!("{path}: {example}: {error}")),
        }
    }
    if !has_own && of.get_subcommands().next().is_none() {
        out.push(format!("{path}: no example"));
    }
    for below in of.get_subcommands() {
        look(root, below, &format!("{path} {}", below.get_name()), out);
    }
}

/// Columns on a terminal: Chinese characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if (c as u32) < 0x1100 { 1 } else { 2 }).sum()
}

/// The examples in a help's text, those that go over several lines as one.
fn examples(help: &str, name: &str) -> Vec<String> {
    let whole = help.replace("\\\n", " ");
    let calls = |line: &&str| line.strip_prefix("  ").and_then(|line| line.strip_prefix(name)).is_some_and(|rest| rest.starts_with(' '));
    whole.lines().filter(calls).map(|line| line.trim_start().to_owned()).collect()
}

/// A line's words as a shell reads them, up to where it sends the output elsewhere.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            Some(end) if c == end => quote = None,
            _ => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).take_while(|word| word != ">").collect()
}

/// The command that a call is of, with those above it.
fn called(path: &str, matches: &ArgMatches) -> String {
    match matches.subcommand() {
        Some((below, matches)) => called(&format!("{path} {below}"), matches),
        None => path.to_owned(),
    }
}

#[test]
fn every_command_shows_an_example_that_it_takes() {
    assert_eq!(amiss(&Cli::command()).join("\n"), "");
}

#[test]
fn what_is_amiss_is_found() {
    let leaf = |name: &'static str| Command::new(name).arg(clap::arg!([ID])).arg(clap::arg!(--name <NAME>));
    let root = |leaf: Command| Command::new("x").subcommand(leaf);
    let good = "Examples:\n  x a 1 \\\n      --name \"two words\" > file\n  xy a --nonsense\n\nx a";
    assert_eq!(amiss(&root(leaf("a").after_help(good))), [""; 0]);
    assert_eq!(amiss(&root(leaf("a"))), ["x a: no example"]);
    assert_eq!(
        amiss(&root(leaf("a").after_help("x a")).subcommand(leaf("b").after_help("  x a 1"))),
        ["x a: no example", "x b: no example"]
    );
    assert!(amiss(&root(leaf("a").after_help("  x a 1\n  x a --nam 1")))[0].contains("--nam"));
    let wide = format!("  x a {}", "字".repeat(38));
    assert_eq!(amiss(&root(leaf("a").after_help(wide.clone()))), [format!("x a: too wide: {wide}")]);
}
