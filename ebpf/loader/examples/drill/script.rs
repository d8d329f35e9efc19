//! Scripts: the part of packetdrill's language that the conntrack scripts use.

use std::time::Duration;

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// So long after what came before.
    After(Duration),
    /// So long after the beginning.
    At(Duration),
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Of the script, from 1.
    pub(crate) line: usize,
    pub(crate) when: When,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Runs a command, which must succeed.
    Run(String),
    /// A system call of the local end, which must return this.
    Call { name: String, arguments: Vec<String>, result: i64 },
    /// The remote end sends.
    Inject(Segment),
    /// The remote end must see.
    Expect(Segment),
}

/// A TCP segment, in the script's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Segment {
    /// The letters of its flags, `.` for ACK.
    pub(crate) flags: String,
    pub(crate) sequence: u32,
    pub(crate) length: u32,
    pub(crate) acknowledgment: Option<u32>,
    pub(crate) window: u16,
    pub(crate) options: Vec<TcpOption>,
}

impl Segment {
    pub(crate) fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TcpOption {
    MaximumSegment(u16),
    Nop,
    SackPermitted,
    Timestamps(u32, u32),
    WindowScale(u8),
}

/// Reads a script. Commands before the first event set up the stack and the packet filter that the
/// script was written for; they are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("//") || line.starts_with('`') {
            continue;
        }
        let number = index + 1;
        let event = event(number, line).map_err(|why| format!("line {number}: {why}: {line}"))?;
        events.push(event);
    }
    Ok(events)
}

fn event(line: usize, text: &str) -> Result<Event, String> {
    let (time, rest) = text.split_once(char::is_whitespace).ok_or("a time and nothing else")?;
    let seconds = |text: &str| {
        let seconds: f64 = text.parse().map_err(|_| format!("{text} is no time"))?;
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    };
    let when = match time.strip_prefix('+') {
        Some(time) => When::After(seconds(time)?),
        None => When::At(seconds(time)?),
    };
    let rest = rest.trim();
    let action = if let Some(command) = rest.strip_prefix('`') {
        Action::Run(command.strip_suffix('`').ok_or("a command without end")?.to_owned())
    } else if let Some(segment) = rest.strip_prefix('<') {
        Action::Inject(self::segment(segment)?)
    } else if let Some(segment) = rest.strip_prefix('>') {
        Action::Expect(self::segment(segment)?)
    } else {
        call(rest)?
    };
    Ok(Event { line, when, action })
}

fn call(text: &str) -> Result<Action, String> {
    let (call, result) = text.rsplit_once(" = ").ok_or("a call without result")?;
    let result = result.split_whitespace().next().unwrap_or_default();
    let result = result.parse().map_err(|_| format!("{result} is no result"))?;
    let (name, arguments) = call.split_once('(').ok_or("no call")?;
    let arguments = arguments.trim_end().strip_suffix(')').ok_or("a call without end")?;
    let arguments = arguments.split(',').map(|argument| argument.trim().to_owned()).collect();
    Ok(Action::Call { name: name.to_owned(), arguments, result })
}

/// `S. 0:0(0) ack 1 win 65535 <mss 1460,nop>`
fn segment(text: &str) -> Result<Segment, String> {
    let (text, options) = match text.split_once('<') {
        Some((text, options)) => (text, options.trim_end().strip_suffix('>')),
        None => (text, Some("")),
    };
    let options = options.ok_or("options without end")?;
    let mut words = text.split_whitespace();
    let flags = words.next().ok_or("no flags")?.to_owned();
    if !flags.chars().all(|flag| "SFRP.".contains(flag)) {
        return Err(format!("{flags} are no flags"));
    }
    let range = words.next().ok_or("no sequence number")?;
    let (sequence, rest) = range.split_once(':').ok_or("no range of sequence numbers")?;
    let length = rest.split_once('(').and_then(|(_, length)| length.strip_suffix(')'));
    let mut segment = Segment {
        flags,
        sequence: number(sequence)?,
        length: number(length.ok_or("no length")?)?,
        ..Segment::default()
    };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} without a value"))?;
        match word {
            "ack" => segment.acknowledgment = Some(number(value)?),
            "win" => segment.window = number(value)?,
            _ => return Err(format!("{word} is not known")),
        }
    }
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        segment.options.push(self::option(option)?);
    }
    Ok(segment)
}

fn option(text: &str) -> Result<TcpOption, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["mss", size] => TcpOption::MaximumSegment(number(size)?),
        ["nop"] => TcpOption::Nop,
        ["sackOK"] => TcpOption::SackPermitted,
        ["TS", "val", value, "ecr", echo] => TcpOption::Timestamps(number(value)?, number(echo)?),
        ["wscale", shift] => TcpOption::WindowScale(number(shift)?),
        _ => return Err(format!("the option {text} is not known")),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(line: &str) -> Event {
        read(line).unwrap().remove(0)
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let second = Duration::from_secs(1);
        assert_eq!(read("`setup`\n// why\n\n").unwrap(), []);
        let event = only("1.0 < S. 5:5(0) ack 1 win 250 <mss 1460,nop,TS val 1 ecr 7,wscale 8>");
        assert_eq!(event.when, When::At(second));
        let wanted = Segment {
            flags: "S.".to_owned(),
            sequence: 5,
            length: 0,
            acknowledgment: Some(1),
            window: 250,
            options: vec![
                TcpOption::MaximumSegment(1_460),
                TcpOption::Nop,
                TcpOption::Timestamps(1, 7),
                TcpOption::WindowScale(8),
            ],
        };
        assert_eq!(event.action, Action::Inject(wanted));
        let Action::Expect(segment) = only("+1 >  P. 1:1001(1000) ack 3001 win 65535").action
        else {
            panic!("no expectation");
        };
        assert_eq!((segment.sequence, segment.length), (1, 1_000));
        assert_eq!(only("+0 `a | b`").action, Action::Run("a | b".to_owned()));
        let call = only("+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)");
        let arguments = ["3", "...", "..."].map(str::to_owned).to_vec();
        assert_eq!(call.action, Action::Call { name: "connect".to_owned(), arguments, result: -1 });
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_line() {
        for line in ["+0 < X 0:0(0)", "+0 < S 0:0(0) urg 1", "x > . 1:1(0)", "+0 < . 1:1(0) <fast>"]
        {
            let why = read(&format!("// first\n{line}")).unwrap_err();
            assert!(why.starts_with("line 2: "), "{why}");
        }
    }
}
