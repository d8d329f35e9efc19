use clap::{Args, FromArgMatches};

use super::*;

fn read(arguments: &[&str]) -> Result<Conditions, clap::Error> {
    let command = Conditions::augment_args(clap::Command::new("test").no_binary_name(true));
    Conditions::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

#[test]
fn one_flag_is_alternatives_and_different_flags_must_all_hold() {
    let read = read(&["--port", "80", "--protocol", "tcp", "--port", "443"]).unwrap();
    let port = |port| Condition::Port(End::Either, port);
    assert_eq!(read.wanted, [vec![port(80), port(443)], vec![Condition::Protocol(vec![6])]]);
    assert!(read.unwanted.is_empty());
    assert!(super::tests::read(&[]).unwrap().is_empty());
}

#[test]
fn not_is_for_the_flag_behind_it_alone() {
    let read = read(&[
        "--port",
        "1",
        "--not",
        "--port",
        "2",
        "--port",
        "3",
        "--not",
        "--verdict",
        "dropped",
        "--not",
        "--port=4",
    ])
    .unwrap();
    let port = |port| Condition::Port(End::Either, port);
    assert_eq!(read.wanted, [[port(1), port(3)]]);
    let unwanted = [port(2), Condition::Verdict(Verdict::Dropped), port(4)];
    assert_eq!(read.unwanted, unwanted);
}

#[test]
fn values_that_make_no_sense() {
    for arguments in [
        &["--ip", "10.0.0"][..],
        &["--ip", "10.0.0.0/33"],
        &["--ip", "::/129"],
        &["--ip", "10.0.0.0/x"],
        &["--pod", "a/b/c"],
        &["--pod", ""],
        &["--service", "/web"],
        &["--port", "65536"],
        &["--protocol", "http"],
        &["--verdict", "LOST"],
        &["--drop-reason-desc", "NONE"],
        &["--port", "1", "--not"],
        &["--not", "--not", "--port", "1"],
    ] {
        assert!(read(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn ranges_have_their_addresses() {
    let range = |address: &str, length| Range { address: address.parse().unwrap(), length };
    for (range, address, is) in [
        (range("10.1.0.0", 16), "10.1.255.255", true),
        (range("10.1.2.3", 16), "10.1.0.0", true),
        (range("10.1.0.0", 16), "10.2.0.0", false),
        (range("10.1.0.1", 32), "10.1.0.0", false),
        (range("0.0.0.0", 0), "255.0.0.1", true),
        (range("0.0.0.0", 0), "::1", false),
        (range("2001:db8::", 32), "2001:db8:1::1", true),
        (range("::", 0), "10.0.0.1", false),
    ] {
        assert_eq!(contains(&range, address.parse().unwrap()), is, "{range} {address}");
    }
}
