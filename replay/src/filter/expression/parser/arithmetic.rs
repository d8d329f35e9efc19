//! Comparisons of numbers, those in packets among them.

use super::super::lexer::Token;
use super::super::tree::{Arithmetic, Expression, OPERATORS, RELATIONS, Relation};
use super::super::words::{self, find};
use super::{Parse, Parser};

impl Parser {
    /// `tcp[13] & 2 != 0`.
    pub(super) fn compare(&mut self) -> Parse<Expression> {
        let left = self.arithmetic(0)?;
        let relation = match self.peek() {
            Token::Sign("==") => Some(Relation::Equal),
            Token::Sign(sign) => {
                RELATIONS.iter().find(|(_, known)| known == sign).map(|(relation, _)| *relation)
            }
            _ => None,
        };
        let Some(relation) = relation else {
            return Err(self.expected("a comparison such as `=` or `<`"));
        };
        self.step();
        let right = self.arithmetic(0)?;
        self.last = None;
        Ok(Expression::Compare(left, relation, right))
    }

    /// Operators that bind at least as strongly as `least`.
    fn arithmetic(&mut self, least: u8) -> Parse<Arithmetic> {
        let mut left = self.operand()?;
        loop {
            let Token::Sign(sign) = *self.peek() else { return Ok(left) };
            let found = OPERATORS.iter().find(|(_, known, _)| *known == sign);
            let Some((operator, _, strength)) = found.filter(|(_, _, s)| *s >= least) else {
                return Ok(left);
            };
            self.step();
            let right = self.arithmetic(strength + 1)?;
            if let Arithmetic::Number(by) = right {
                use super::super::tree::Operator::{Divide, Left, Remainder, Right};
                if by == 0 && matches!(operator, Divide | Remainder) {
                    return Err(self.fails("division by zero"));
                }
                if by > 31 && matches!(operator, Left | Right) {
                    return Err(self.fails("a shift by more than 31 bits"));
                }
            }
            left = Arithmetic::Binary(Box::new(left), *operator, Box::new(right));
        }
    }

    fn operand(&mut self) -> Parse<Arithmetic> {
        if self.sign("-") {
            return self.deeper(|p| Ok(Arithmetic::Negative(Box::new(p.operand()?))));
        }
        if self.sign("(") {
            return self.deeper(|p| {
                let inner = p.arithmetic(0)?;
                p.close(")")?;
                Ok(inner)
            });
        }
        let word = match self.peek() {
            Token::Number(_) => return self.number(u32::MAX).map(Arithmetic::Number),
            Token::Word(word) => word.clone(),
            _ => return Err(self.expected("a number")),
        };
        if self.word("len") {
            return Ok(Arithmetic::Length);
        }
        if let Some(value) = find(&words::CONSTANTS, &word) {
            self.step();
            return Ok(Arithmetic::Number(value));
        }
        let Some(over) = find(&words::PROTOCOLS, &word) else {
            return Err(self.expected("a number, or a protocol such as `tcp`"));
        };
        self.step();
        self.close("[")?;
        self.deeper(|p| {
            let offset = p.arithmetic(0)?;
            let size = if p.sign(":") { p.number(4)? } else { 1 };
            if !matches!(size, 1 | 2 | 4) {
                return Err(p.fails("a size is 1, 2 or 4"));
            }
            p.close("]")?;
            Ok(Arithmetic::Load(over, Box::new(offset), size as u8, p.tags))
        })
    }
}
