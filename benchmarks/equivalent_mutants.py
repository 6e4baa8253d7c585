"""Mutants that no test can kill, because they behave as the module does, each with the reason."""

from __future__ import annotations

#: Survivors that behave as the module does: (module, function, text of the mutant) -> why.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    **{
        ("decompose", "_log_change", f"{side} > 0 => {side} >= 0"): "what one period lacks carries nothing"
        for side in ("base", "head")
    },
    (
        "failures",
        "_origins",
        "of[0] => of[-1]",
    ): "of this rate only the change is read",
    **{
        (
            "graph",
            place,
            f"pl.lit(1.0) => pl.lit({other})",
        ): "a factor of all calls of an edge moves no quantile"
        for place in ("_side", "_hops")
        for other in (2.0, 0.5)
    },
    (
        "graph",
        "_nodes",
        "p_by('caller', maintain_order=True) => p_by('caller', maintain_order=False)",
    ): "rows of a group keep their order, whatever that of the groups is",
    ("graph", "_nodes", "pl.col('clock_ns').clip(1) => pl.col('clock_ns').clip(2)"): "no clock is of one ns",
    ("graph", "_compared", "pl.lit(value=True) => pl.lit(value=False)"): "only whether it is there is asked",
    ("graph", "_nodes", "if level == 'service': => if False:"): "hops join services alone",
    (
        "matched",
        "_dense",
        "np.bincount(at, rows[name].to_numpy() * factor, size).astype(np.float64, copy=False) => "
        "np.bincount(at, rows[name].to_numpy() * factor, size).astype(np.float64, copy=True)",
    ): "a copy holds the same",
    ("matched", "_summed", "not plain => not not plain"): "rows are sorted after; only last bits may differ",
    ("failures", "_origins", "of[0] => of[1]"): "of this rate only the change is read",
    (
        "series",
        "stretches",
        "slot_ns <= unit => slot_ns < unit",
    ): "slots as long as a unit are cut alike as slots",
    (
        "series",
        "quantile_of",
        "reached >= part * reached[-1] * (1 - 1e-09) => reached > part * reached[-1] * (1 - 1e-09)",
    ): "the bound lies by 1e-9 below what counts reach",
    (
        "series",
        "_entry_side",
        "(-1, 0.0, 0.0) => (-2, 0.0, 0.0)",
    ): "no kind of unit has either number",
    (
        "standing",
        "_standing",
        "edge.q_value or 0.0 => edge.q_value or -1.0",
    ): "stands for no q value, which exceeds nothing",
    (
        "starved",
        "_Groups.first",
        "self.members[k][0] => self.members[k][-1]",
    ): "all paths of an edge have its kind, caller, callee and operation",
    **{
        (
            "starved",
            "_Reader.errors",
            f"effects[0] => effects[{other}]",
        ): "the whole moves all pseudo-values alike, and their mean with them"
        for other in (1, -1)
    },
    **{
        (
            "starved",
            "_Groups.grew",
            f"self.per_visit_ms[0] => self.per_visit_ms[{other}]",
        ): "what rose by less than rounding is of one size in both periods"
        for other in (1, -1)
    },
    (
        "decompose",
        "_net_calls_and_criticality",
        "calls[:1] * criticality[:1] < 0 => calls[:1] * criticality[:1] <= 0",
    ): "where one of both is zero, the sum of both is the other",
    **{
        (
            "blocks",
            "match",
            f"np.where(common, count, 0) => np.where(common, count, {other})",
        ): "cells that only one period has are left out, whatever they weigh"
        for other in (1, -1)
    },
    (
        "changes",
        "split",
        "np.arange(n)[:, None] >= ends[None, :] => np.arange(n)[:, None] < ends[None, :]",
    ): "the mean is in the design, which a step and its mirror image extend by the same",
    (
        "changes",
        "dominant",
        "1.0 if edge.credited_ms >= 0 else -1.0 => 2.0 if edge.credited_ms >= 0 else -1.0",
    ): "a factor of all effects alike changes none's place",
    **{
        (
            "verdict",
            place,
            f"{value} or 0.0 => {value} or {other}",
        ): "stands for None, which what is asked before excludes"
        for place, value in (
            ("_uncertain", "entry.ms_head"),
            ("_uncertain", "entry.rise_ms"),
            ("_uncertain", "entry.units_seen"),
            ("_heavy", "entry.rise_ms"),
            ("_doubled", "entry.rise_ms"),
        )
        for other in (1.0, -1.0)
    },
    ("verdict", "data_notes", "kinds[0] => kinds[-1]"): "of two equal sets either may be looked at",
    **{
        (
            "rates",
            "_dispersion",
            text,
        ): "the rate is in the design, which a step, its mirror image and its double extend alike"
        for text in (
            "np.arange(blocks)[:, None] >= at => np.arange(blocks)[:, None] < at",
            "np.where(np.arange(blocks)[:, None] >= at, 1.0, 0.0)"
            " => np.where(np.arange(blocks)[:, None] >= at, 2.0, 0.0)",
        )
    },
    ("rates", "_at_most", "if some.any(): => if True:"): "of no rows nothing is computed",
    (
        "significance",
        "jackknife",
        "Floats, scale: Floats | float=0.0, may_step: NDArray[np.bool"
        " => Floats, scale: Floats | float=-1.0, may_step: NDArray[np.boo",
    ): "a default size; sizes are not below zero, and the larger one counts",
    (
        "significance",
        "jackknife",
        "stepped >= 0 => stepped >= 1",
    ): "a step has STEP_SIDE blocks before it, and -1 stands for none",
    (
        "significance",
        "jackknife",
        "np.arange(n) >= at => np.arange(n) < at",
    ): "the mean is in the design, which a step and its mirror image extend by the same",
    **{
        (
            "significance",
            place,
            "np.maximum(dof, 1.0) => np.maximum(dof, 0.5)",
        ): "effective degrees of freedom are one or more (Cauchy and Schwarz)"
        for place in ("jackknife", "combine")
    },
    **{
        (
            "forecast",
            "_entries",
            f"rows['{column}'][0] => rows['{column}'][-1]",
        ): "all rows of an entry have its service and its operation"
        for column in ("service", "operation")
    },
    ("forecast", "_pushed", "times > 1 => times >= 1"): "today's load itself is answered before",
    **{
        (
            "robust_fit",
            place,
            text,
        ): "how damping goes decides how many steps are taken, which is held by their number, not where they end"
        for place, text in (
            ("", "_MOST_STEPS = 200 => _MOST_STEPS = 201"),
            ("", "_MOST_STEPS = 200 => _MOST_STEPS = 199"),
            ("robust_fit", "(huber_cost(rest, turn), 0.001) => (huber_cost(rest, turn), 0.002)"),
            ("robust_fit", "(huber_cost(rest, turn), 0.001) => (huber_cost(rest, turn), 0.0005)"),
            ("robust_fit", "damping / 9 => damping / 10"),
            ("robust_fit", "damping / 9 => damping / 8"),
            ("robust_fit", "damping *= 6 => damping *= 7"),
            ("robust_fit", "damping *= 6 => damping *= 5"),
            ("robust_fit", "damping < _LARGEST_DAMPING => damping <= _LARGEST_DAMPING"),
            ("", "_FURTHEST = 0.9 => _FURTHEST = 0.45"),
        )
    },
    **{
        ("robust_fit", "robust_fit", f"{side} < _AT_BOUND => {side} <= _AT_BOUND"): "no step ends just there"
        for side in ("x - low", "high - x")
    },
    **{
        (
            "distributions",
            "_student_quantile",
            f"np.where(narrow, nu, 1.0) => np.where(narrow, nu, {other})",
        ): "stands for what no step is taken of"
        for other in (2.0, 0.5)
    },
    (
        "growth",
        "_log_mean",
        "abs(a - b) < 1e-12 * a => abs(a - b) <= 1e-12 * a",
    ): "so near each other either formula gives the one or the other of both",
    (
        "offered",
        "quiet_times",
        "group_by(keys, maintain_order=True) => group_by(keys, maintain_order=False)",
    ): "who reads the times sorts them",
    **{
        ("trends", "pct", f"max(log, -50.0) => max(log, -{other})"): "nothing is left of a hundred per cent"
        for other in (100.0, 25.0)
    },
    **{
        ("significance", "_moments", text): "a step that the design holds leaves rounding, any other far more"
        for text in (
            "size > 1e-06 => size > 2e-06",
            "size > 1e-06 => size > 5e-07",
            "size > 1e-06 => size >= 1e-06",
            "np.maximum(size, 1e-06) => np.maximum(size, 2e-06)",
            "np.maximum(size, 1e-06) => np.maximum(size, 5e-07)",
        )
    },
    (
        "significance",
        "jackknife",
        "(residual ** 2).sum(axis=0) > rounding ** 2 => (residual ** 2).sum(axis=0) >= rounding ** 2",
    ): "residuals that are nothing stay nothing",
    (
        "significance",
        "jackknife",
        "np.abs(pseudo).max(axis=0, initial=0.0) => np.abs(pseudo).max(axis=0, initial=-1.0)",
    ): "sizes are not below zero",
    **{
        (
            "significance",
            "_mean_ratio",
            f"np.polynomial.legendre.leggauss(32) => np.polynomial.legendre.leggauss({other})",
        ): "the integral has converged by then"
        for other in (31, 33)
    },
    ("walls", "EdgeCurve.slower", "(:, 0) => (:, -1)"): "there is one column",
    ("walls", "EdgeCurve.expected", "times > 1 => times >= 1"): "today's load itself is answered before",
    **{
        (
            "walls",
            "weeks_left",
            f"np.random.default_rng(2) => np.random.default_rng({other})",
        ): "other draws of the same"
        for other in (1, 3)
    },
    (
        "entry_clock",
        "_part",
        "slope + error * rng.standard_t(dof, DRAWS) => slope - error * rng.standard_t(dof, DRAWS)",
    ): "Student's t lies alike on either side",
    (
        "entry_clock",
        "EntryClock.wall",
        "if not self.bends: => if False:",
    ): "what does not bend crosses nothing",
    ("levels", "judge", "a.load[0] => a.load[-1]"): "a level is one point",
    ("levels", "judge", "b.load[0] => b.load[-1]"): "a level is one point",
    ("levels", "judge", "level.load[0] => level.load[-1]"): "a level is one point",
    ("levels", "judge", "one.latency_s[0] => one.latency_s[-1]"): "a level is one point",
    ("levels", "_expected", "one.load[0] => one.load[-1]"): "a level is one point",
    ("levels", "_expected", "one.calls[0] => one.calls[-1]"): "a level is one point",
    ("levels", "_expected", "(:, 0) => (:, -1)"): "there is one column",
    **{
        ("levels", "_expected", text): "Student's t lies alike on either side"
        for text in (
            "by_law[pick] + rng.standard_t(fitted.dof, len(pick)) * max(fitted.noise, own)"
            " => by_law[pick] - rng.standard_t(fitted.dof, len(pick)) * max(fitted.noise, own)",
            "by_line + rng.standard_t(n - 2, len(pick)) * wide => by_line - rng.standard_t(n - 2, len(pick)) * wide",
        )
    },
    ("forecast", "_Requests.of", "if key not in self.known: => if True:"): "it is computed again",
    ("forecast", "_Clocks.__init__", "max(clock, 1.0) => max(clock, 0.5)"): "clocks are whole nanoseconds",
    **{
        (
            "levels",
            "_expected",
            f"np.random.default_rng(1) => np.random.default_rng({other})",
        ): "other draws of the same"
        for other in (0, 2)
    },
    **{
        (
            "early_warning",
            "_per_unit",
            "-series['week'].to_numpy().astype(np.float64) - 0.5"
            f" => -series['week'].to_numpy().astype(np.float64) - {other}",
        ): "a trend is the same wherever weeks are counted from"
        for other in (1.0, 0.25)
    },
    **{
        (
            "outlook",
            "band_aids",
            f"waits[1].pct_per_week or 0.0 => waits[1].pct_per_week or {other}",
        ): "what grows has a number"
        for other in (1.0, -1.0)
    },
    **{
        (
            "entry_clock",
            "",
            f"HALVINGS: Final = 30 => HALVINGS: Final = {other}",
        ): "a billionth of the range or two"
        for other in (29, 31)
    },
    **{
        ("backlog", "", f"np.geomspace(0.9, 4.0, 400) => np.geomspace(0.9, 4.0, {other})"): "as fine a grid"
        for other in (399, 401)
    },
    **{
        ("backlog", "_Slots.of", f"24 * 3600 => 24 * {other}"): "days are whole slots"
        for other in (3599, 3601)
    },
    (
        "significance",
        "shrink",
        "np.abs(value) > known => np.abs(value) >= known",
    ): "what is as large as its error is nothing either way",
    ("failure_trends", "failure_trends", "if not keys: => if False:"): "of no entries nothing is made",
    ("robust_fit", "huber_cost", "size <= turn => size < turn"): "at the turn both losses are the same",
    **{
        (
            "distributions",
            "",
            f"_WIDE_DOF = 1000000.0 => _WIDE_DOF = {other}",
        ): "either way is right around there"
        for other in (2e6, 5e5)
    },
    **{
        (
            "distributions",
            "",
            f"_REMEMBERED = 16 => _REMEMBERED = {other}",
        ): "what is forgotten is computed again"
        for other in (15, 17)
    },
    (
        "distributions",
        "_student_quantile",
        "nu < _NORMAL_DOF => nu <= _NORMAL_DOF",
    ): "there the quantile is the normal's to the last digit",
    **{
        (
            "distributions",
            "incomplete_beta",
            text,
        ): "both fractions converge, and the one of 1 - x gives the other's complement"
        for text in (
            "x > (a + 1) / (a + b + 2) => x >= (a + 1) / (a + b + 2)",
            "a + 1 => a + 2",
            "a + 1 => a + 0",
            "a + b + 2 => a + b + 3",
            "a + b + 2 => a + b + 1",
        )
    },
    (
        "distributions",
        "_fraction",
        "np.abs(factor - 1) > 1e-15 => np.abs(factor - 1) >= 1e-15",
    ): "numbers near 1 are 2.2e-16 apart: none is there",
    **{
        (
            "load",
            "_solve",
            text,
        ): "where the fit begins decides how fast it is there; it is held against SciPy's from other starts"
        for text in (
            "float(np.clip(start[2], -0.9, 0.9)) if free else 0.0"
            " => float(np.clip(start[2], -0.9, 0.9)) if False else 0.0",
            "1 - math.exp(-float(np.clip(start[1], 0.05, 2.3))) => 2 - math.exp(-float(np.clip(start[1], 0.05, 2.3)))",
            "start[1] => start[0]",
            "np.clip(start[1], 0.05, 2.3) => np.clip(start[1], 0.1, 2.3)",
            "np.clip(start[1], 0.05, 2.3) => np.clip(start[1], 0.025, 2.3)",
            "np.clip(start[1], 0.05, 2.3) => np.clip(start[1], 0.05, 4.6)",
            "np.clip(start[1], 0.05, 2.3) => np.clip(start[1], 0.05, 1.15)",
            "np.clip(start[2], -0.9, 0.9) => np.clip(start[2], -0.9, 1.8)",
            "np.clip(start[2], -0.9, 0.9) => np.clip(start[2], -0.9, 0.45)",
            "np.clip(start[2], -0.9, 0.9) => np.clip(start[2], -1.8, 0.9)",
            "np.clip(start[2], -0.9, 0.9) => np.clip(start[2], -0.45, 0.9)",
            "[float(start[0]), rise, 0.3, g0] => [float(start[0]), rise, 0.6, g0]",
            "[float(start[0]), rise, 0.3, g0] => [float(start[0]), rise, 0.15, g0]",
        )
    },
    **{
        (
            "load",
            "_solve.jacobian",
            text,
        ): "the derivative by phi is a difference over a millionth, to a side on which there is a phi"
        for text in (
            "1e-06 if phi < 0.5 else -1e-06 => 2e-06 if phi < 0.5 else -1e-06",
            "1e-06 if phi < 0.5 else -1e-06 => 5e-07 if phi < 0.5 else -1e-06",
            "1e-06 if phi < 0.5 else -1e-06 => 1e-06 if phi < 0.5 else -2e-06",
            "1e-06 if phi < 0.5 else -1e-06 => 1e-06 if phi < 0.5 else -5e-07",
            "1e-06 if phi < 0.5 else -1e-06 => 1e-06 if True else -1e-06",
            "1e-06 if phi < 0.5 else -1e-06 => 1e-06 if False else -1e-06",
            "phi < 0.5 => phi <= 0.5",
            "phi < 0.5 => phi >= 0.5",
            "phi < 0.5 => phi < 1.0",
            "phi < 0.5 => phi < 0.25",
            "-1e-06 => +1e-06",
        )
    },
    **{
        (
            "load",
            "_Surface.draw",
            f"(16, 16, 24) => {other}",
        ): "a grid one finer or coarser, whose cells are drawn in"
        for other in (
            "(15, 16, 24)",
            "(17, 16, 24)",
            "(16, 15, 24)",
            "(16, 17, 24)",
            "(16, 16, 23)",
            "(16, 16, 25)",
        )
    },
    ("load", "", "DRAWS: Final = 400 => DRAWS: Final = 399"): "one draw of so many more or less",
    ("load", "shift.parts", "(2, 2, len(capacity)) => (2, 3, len(capacity))"): "room that nothing is put in",
    ("load", "shift.parts", "(2, 2, len(capacity)) => (3, 2, len(capacity))"): "room that nothing is put in",
    (
        "arrivals",
        "_of_period",
        "part['resource'][0] => part['resource'][-1]",
    ): "an edge reaches one resource in all of its slots",
    (
        "arrivals",
        "_smooth",
        "hour // size + (24 * weekend if split and days >= 10 else 0)"
        " => hour // size - (24 * weekend if split and days >= 10 else 0)",
    ): "cells below 0 are as many others as those from 24 on",
    (
        "arrivals",
        "_smooth",
        "period.end_ns - 1 => period.end_ns - 2",
    ): "slots begin at whole hours",
    (
        "bins",
        "bin_of",
        "np.minimum(octaves, 62) => np.minimum(octaves, 63)",
    ): "more than 62 are one less whatever is shifted",
    (
        "bins",
        "bin_of",
        "np.abs(parts - np.round(parts)) < _NEAR_EDGE => np.abs(parts - np.round(parts)) >= _NEAR_EDGE",
    ): "where numpy's logarithm is the C library's nothing is put right",
    ("arrivals", "points", "if count < 1: => if False:"): "one stretch of one level is all slots together",
    (
        "bins",
        "bin_of",
        "values > 0 => values > 1",
    ): "the bin of 1 is the one before 0's octave, as that of 2 less one",
    ("load", "", "DRAWS: Final = 400 => DRAWS: Final = 401"): "one draw of so many more or less",
    **{
        (
            "tally",
            "hash4",
            f"np.uint64({bits}) => np.uint64({other})",
        ): "how a hash mixes decides how fast rows are found, not which"
        for bits in (29, 31, 32)
        for other in (bits - 1, bits + 1)
    },
    **{
        ("walk", "_order", f"n <= 24 => {other}"): "either sort gives the one order that `_before` makes"
        for other in ("n < 24", "n <= 23", "n <= 25", "n > 24")
    },
    **{
        ("walk", "_order", f"if n <= 24: => if {always}:"): "either sort gives the one order that there is"
        for always in (True, False)
    },
    **{
        ("walk", "_order", text): "what has no children in the heap stays where it is"
        for text in ("n // 2 => n * 2", "n // 2 - 1 => n // 2 - 0", "n // 2 - 1 => n // 2 + 1")
    },
    ("walk", "_walk_group", "last - at > 1 => last - at > 0"): "one child is in order",
    ("walk", "_children_last_first", "at - first > 1 => at - first > 0"): "one child is in order",
    ("walk", "_before", "a < b => a <= b"): "two children are two spans",
    ("skew", "", "2 ** 24 - 1 => 2 ** 24 + 1"): "added to all keys alike",
    ("skew", "_find_pairs", "mask + 1 => mask + 2"): "odd against even: the same numbers are below",
    ("skew", "_ranked", "high[0] => high[1]"): "one that is looked at anyway, as one call contradicts none",
    ("units", "find_loops", "top[q] == -2 => top[q] == -3"): "what is not remembered is looked for again",
    (
        "units",
        "_claim_slot",
        "np.int64(trace) << 32 => np.int64(trace) >> 32",
    ): "a hash decides no more than time",
    (
        "units",
        "_claim_slot",
        "slot + np.uint64(1) => slot - np.uint64(1)",
    ): "claims are put and looked for in the same direction",
    (
        "units",
        "_is_claimed",
        "(slot, 0) => (slot, 1)",
    ): "a claim has a trace and a service, both not below zero",
    (
        "units",
        "_looked_for",
        "life == LIFE_STREAM => life != LIFE_STREAM",
    ): "whether it is worth looking: who looks finds the same",
    ("units", "_claims", "1 + _links_of(links, r) => 2 + _links_of(links, r)"): "more room than is used",
    ("units", "put_clocks", "np.zeros(2, np.int64) => np.zeros(3, np.int64)"): "more room than is used",
    ("units", "put_clocks", "n if any_messages else 0 => n if any_messages else 1"): "more room than is used",
    ("skew", "_reconcile", "2 * longest => 3 * longest"): "more room than is used",
    ("units", "_last_polls", "loop[i] >= 0 => loop[i] >= -1"): "room for polls, without which none is noted",
    **{
        ("roles", "_declared", text): "what is out of bounds counts as 0, and so does 0"
        for text in (
            "0 <= k < _KINDS => 0 < k < _KINDS",
            "0 <= op < _OPS => 1 <= op < _OPS",
            "0 <= op < _OPS => 0 < op < _OPS",
            "0 <= k < _KINDS => 1 <= k < _KINDS",
        )
    },
    **{
        ("traces", place, text): "where all is done that a way past it would have saved"
        for place, text in (
            ("_number", "(t, 1) => (t, 0)"),
            ("_number", "t < 0 => t <= 0"),
            ("_number", "if t < 0 or hi[i] != seen[t, 0] or lo[i] != seen[t, 1]: => if True:"),
            ("_radix_sort", "if count[byte, key[0] >> shift & np.uint64(255)] == size: => if False:"),
            ("_sort_by_bits", "64 - bits => 65 - bits"),
            ("", "SHORT = 64 => SHORT = 63"),
        )
    },
    (
        "traces",
        "_sort_by_bits",
        "2 * half + 1 => 2 * half + 0",
    ): "the last count decides no more than which sort",
    ("traces", "_sort_clustered", "a < hi => a <= hi"): "at the end there is one row, and nothing to sort",
    ("traces", "_sort_and_dedupe", "t + 1 => t - 1"): "the first trace then counts as long as all of them",
    ("traces", "mix", "np.uint64(31) => np.uint64(32)"): "how a hash mixes decides how fast rows are found",
    (
        "traces",
        "_sort_by_bits",
        "content_hash[rows[lo + b - 1]] > content_hash[row]"
        " => content_hash[rows[lo + b - 1]] >= content_hash[row]",
    ): "of rows of the same content either stays",
    **{
        ("octets", place, text): "the long way reads the same"
        for place, text in (
            ("tag", "if at < end: => if False:"),
            ("tag", "8 <= low < 128 => 9 <= low < 128"),
            ("length", "if at < end: => if False:"),
        )
    },
    ("octets", "", "12 * DEEPEST => 13 * DEEPEST"): "more room than is used",
    ("octets", "_skip_plain", "after < 0 => after <= 0"): "after a varint is at least one",
    ("octets", "same", "k += 8 => k += 7"): "a byte in eight is looked at twice",
    ("outline", "_outline", "if end - at >= 8: => if False:"): "byte by byte it is the same",
    ("outline", "_outline", "np.int64(1) => np.int64(2)"): "anything but zero stands for a yes",
    **{
        ("outline", "_outline", text): "where a list ends is written over when it does, and read after that"
        for text in ("-1 => +1", "(base + at, -1, depth) => (base + at, -0, depth)")
    },
    **{
        ("outline", "Outline.__init__", text): "more room than is used, or room that grows earlier"
        for text in ("np.zeros(4, np.int64) => np.zeros(5, np.int64)", "(1024, 3) => (1023, 3)")
    },
    (
        "outline",
        "Outline.read",
        "if text.flags.writeable: => if False:",
    ): "a type that only the compiler sees",
    **{
        ("weave", "weave", text): "more room than is used"
        for text in ("np.maximum(size, 0) => np.maximum(size, 1)", "size >= 0 => size >= -1")
    },
    (
        "trace_state",
        "threshold_of",
        "stop - k > 2 => stop - k >= 2",
    ): "of nothing after `p:` there is no exponent",
    ("sketch", "_bins", "octave -= 1 => octave -= 2"): "counted from half the power, it is two octaves on",
    ("octets", "", "SLACK = 8 => SLACK = 9"): "more room than is read",
    ("json_text", "", "DOUBLE_TEXT = 10 => DOUBLE_TEXT = 11"): "with its key and quotes a double is longer",
    ("json_text", "_checked_string", "c > 127 => c >= 127"): "no escape is meant by a DEL either",
    ("json_text", "is_item", "at >= 0 => at >= 1"): "an item stands in a list, which begins before it",
    ("plain_json", "", "_PLACES = 64 => _PLACES = 65"): "more room than is used",
    **{
        ("plain_json", "", text): "a place that is read no more when the next one is written"
        for text in (
            "(0, 4, 8, 11, 15) => (0, 4, 7, 11, 15)",
            "(19, 35, 41, 43, 46, 54, 55) => (19, 35, 41, 43, 46, 53, 55)",
        )
    },
    **dict.fromkeys(
        (
            ("plain_json", "_attributes", "places[_AT_PAIR + 2] >= 0 => places[_AT_PAIR + 2] >= 1"),
            (
                "plain_json",
                "_scope_spans",
                "places[_AT_SCOPE_SPANS + 3] >= 0 => places[_AT_SCOPE_SPANS + 3] > 0",
            ),
            ("plain_json", "_resource", "end < 0 => end < 1"),
            ("plain_json", "_request", "inner < 0 => inner < 1"),
            (
                "plain_json",
                "_request",
                "min(places[_AT_DOCUMENT], places[_AT_DOCUMENT + 1]) >= 0"
                " => min(places[_AT_DOCUMENT], places[_AT_DOCUMENT + 1]) >= 1",
            ),
            ("plain_jaeger", "_value", "at < 0 => at <= 0"),
            ("plain_jaeger", "_value", "end < 0 => end < 1"),
            ("plain_jaeger", "_note_said", "item < 0 => item <= 0"),
            ("plain_jaeger", "_read_reference", "places[_AT_REFERENCE] < 0 => places[_AT_REFERENCE] <= 0"),
            ("plain_jaeger", "_head", "to >= 0 => to >= 1"),
            ("plain_jaeger", "_group_of", "own < 0 => own <= 0"),
        ),
        "no member stands at a text's first byte, and no field ends at a message's",
    ),
    **{
        ("plain_jaeger", place, text): "the long way writes the same message"
        for place, text in (
            ("put_times", "if begin > 0: => if True:"),
            ("_noted_attributes", "if places[_AT_NOTES] > _NOTED: => if True:"),
            ("_is_plain_parent", "jump[trace] - trace => jump[trace] + trace"),
        )
    },
    (
        "forest",
        "_find_parents",
        "table[:size] = -1 => table[:size] = -2",
    ): "any number below zero stands for none",
    **{
        ("forest", "_break_cycles", text): "whether to look for cycles: who looks finds the same"
        for text in (
            "t + 1 => t - 1",
            "start_ns[p] > start_ns[i] => start_ns[p] <= start_ns[i]",
            "if i < hi: => if True:",
            "start_ns[p] == start_ns[i] and p >= i => start_ns[p] == start_ns[i] or p >= i",
        )
    },
    (
        "tally",
        "hash4",
        "x >> np.uint64(32) => x << np.uint64(32)",
    ): "how a hash mixes decides no more than time",
    ("tally", "intern", "np.uint64(1) => np.uint64(2)"): "half of a table's places are more than its rows",
    **{
        ("tally", place, text): "tables are larger than they need be, or grow earlier"
        for place, text in (
            ("has_room", "table.size[0] + more <= len(table.rows) => table.size[0] + more < len(table.rows)"),
            ("has_room", "table.size[0] => table.size[-1]"),
            ("new_table", "4 * room => 3 * room"),
            ("new_table", "np.zeros(1, np.int64) => np.zeros(2, np.int64)"),
            ("grown", "8 * len(table.rows) => 7 * len(table.rows)"),
        )
    },
    (
        "rollup",
        "attribute",
        "np.full(size, -1, np.int32) => np.full(size, -2, np.int32)",
    ): "any number below zero stands for none",
    ("octets", "_wide_tag", "after < 0 => after < 1"): "after a varint is at least one",
    **{
        ("roles", "", f"(6, 8, 9) => {other}"): "rows that say the same as the first, or are never asked for"
        for other in ("(6, 8, 10)", "(6, 7, 9)", "(7, 8, 9)", "(6, 9, 9)")
    },
    **{
        ("roles", "_declared", f"known >= 0 => known {other}"): "no span says of itself that it is INTERNAL"
        for other in ("> 0", ">= 1")
    },
    (
        "roles",
        "_find_transport",
        "if 0 < _LEVEL[edge_class[i]] < _HIGHEST: => if True:",
    ): "whether it is worth looking: who looks asks the same",
}
