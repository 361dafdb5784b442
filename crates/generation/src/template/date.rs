//! `strftime` in UTC, with the names of the C locale.

use std::fmt::Write as _;

/// Times that are formatted: the years 1 to 9999, as in Python.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
/// Longest format, in bytes.
const FORMAT_BYTES_MAX: usize = 256;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Formats a time (seconds since 1970-01-01 UTC). Knows `%a %A %b %B %c %d %D %e %F %H %I %j %m %M
/// %p %S %T %x %X %y %Y %Z %z %%` and glibc's `-` (no padding) before numbers.
///
/// # Errors
/// A text for people: an unknown directive, a format too long, a year outside 1 to 9999.
pub(super) fn format(now: i64, format: &str) -> Result<String, String> {
    if !SECONDS.contains(&now) {
        return Err(format!("the variable `now` is {now}, which is not in the years 1 to 9999"));
    }
    if format.len() > FORMAT_BYTES_MAX {
        return Err(format!("the date format has more than {FORMAT_BYTES_MAX} bytes"));
    }
    let mut text = String::new();
    Date::at(now).write(format, &mut text)?;
    Ok(text)
}

struct Date {
    year: i64,
    month: usize,
    day: i64,
    day_of_year: i64,
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Date {
    fn at(now: i64) -> Self {
        let (days, second) = (now.div_euclid(86_400), now.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        Date {
            year,
            month,
            day,
            day_of_year: days - days_before(year) + 1,
            // 1970-01-01 was a Thursday.
            weekday: (days + 4).rem_euclid(7) as usize,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    fn write(&self, format: &str, text: &mut String) -> Result<(), String> {
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut directive = characters.next();
            let padded = directive != Some('-');
            if !padded {
                directive = characters.next();
            }
            let mut number = |value: i64, width: usize| {
                let width = if padded { width } else { 0 };
                // Writing to a `String` cannot fail.
                let _ = write!(text, "{value:0width$}");
            };
            match directive {
                Some('Y') => number(self.year, 0),
                Some('y') => number(self.year % 100, 2),
                Some('m') => number(self.month as i64, 2),
                Some('d') => number(self.day, 2),
                Some('j') => number(self.day_of_year, 3),
                Some('H') => number(self.hour, 2),
                Some('I') => number((self.hour + 11) % 12 + 1, 2),
                Some('M') => number(self.minute, 2),
                Some('S') => number(self.second, 2),
                Some('e') => {
                    let width = if padded { 2 } else { 0 };
                    let _ = write!(text, "{:width$}", self.day);
                }
                Some('p') => text.push_str(if self.hour < 12 { "AM" } else { "PM" }),
                Some('B') => text.push_str(MONTHS[self.month - 1]),
                Some('b' | 'h') => text.push_str(&MONTHS[self.month - 1][..3]),
                Some('A') => text.push_str(DAYS[self.weekday]),
                Some('a') => text.push_str(&DAYS[self.weekday][..3]),
                Some('Z') => text.push_str("UTC"),
                Some('z') => text.push_str("+0000"),
                Some('F') => self.write("%Y-%m-%d", text)?,
                Some('T' | 'X') => self.write("%H:%M:%S", text)?,
                Some('D' | 'x') => self.write("%m/%d/%y", text)?,
                Some('c') => self.write("%a %b %e %H:%M:%S %Y", text)?,
                Some('%') => text.push('%'),
                Some(other) => {
                    return Err(format!("the date format `{format}` has the unknown `%{other}`"));
                }
                None => return Err(format!("the date format `{format}` ends inside a directive")),
            }
        }
        Ok(())
    }
}

/// Year, month and day for days since 1970-01-01, in the Gregorian calendar (the arithmetic of
/// Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years begin
/// in March, so that the leap day is their last).
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as usize, day)
}

/// Days from 1970-01-01 to the first day of a year.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    365 * past + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}
