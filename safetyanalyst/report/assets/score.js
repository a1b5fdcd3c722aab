// The one sum, as in Python: cell = sign * product of weights; score = sum of the cells of the effects; what could not be read
// makes an interval of it; and a policy decides on the whole interval (`policy.BoundPolicy.decide`).
(function (SA) {
  "use strict";

  const ALLOW = 0, REVIEW = 1, BLOCK = 2;
  const DECISIONS = ["allow", "review", "block"];

  // The sum of numbers, rounded once: Python's `math.fsum` (Shewchuk 1997), whose last rounding is to even as well.
  function fsum(values) {
    const partials = [];
    for (let x of values) {
      let kept = 0;
      for (let y of partials) {
        if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
        const high = x + y;
        const low = y - (high - x);
        if (low) partials[kept++] = low;
        x = high;
      }
      partials.length = kept;
      partials.push(x);
    }
    return rounded(partials);
  }

  function rounded(partials) {
    let n = partials.length;
    if (n === 0) return 0;
    let high = partials[--n];
    let low = 0;
    while (n > 0) {
      const x = high;
      const y = partials[--n];
      high = x + y;
      low = y - (high - x);
      if (low) break;
    }
    if (n > 0 && ((low < 0 && partials[n - 1] < 0) || (low > 0 && partials[n - 1] > 0))) {
      const y = low * 2;
      const x = high + y;
      if (y === x - high) high = x;
    }
    return high;
  }

  function decide(low, high, settings) {
    const upper = settings.threshold + settings.above;
    const lower = settings.threshold - settings.below;
    if (low > upper) return BLOCK;
    if (high <= lower) return ALLOW;
    if (low > lower && high <= upper) return REVIEW;
    return settings.on_missing === "review" ? REVIEW : BLOCK;
  }

  // Scenarios under one policy. `evaluate` fills `low`, `high` and `decision` for all of them.
  class Model {
    constructor(raw, columns, prefix, isRead) {
      this.raw = raw;
      this.cells = raw.cells;
      this.n = isRead.length;
      this.isRead = isRead;
      for (const name of ["of_effect", "lost", "pattern_sizes", "pattern_cells", "factors", "sign"]) {
        this[name] = columns[`${prefix}_${name}`];
      }
      this.starts = SA.starts(columns[`${prefix}_counts`]);
      this.patternStarts = SA.starts(this.pattern_sizes);
      this.patterns = this.pattern_sizes.length;
      this.width = this.factors.length / this.cells;
      this.leastOf = new Float64Array(this.cells + this.patterns + 1); // per unit; the last is worth 0
      this.greatestOf = new Float64Array(this.leastOf.length);
      this.low = new Float64Array(this.n);
      this.high = new Float64Array(this.n);
      this.decision = new Uint8Array(this.n);
    }

    settings() {
      const { threshold, below, above, on_missing } = this.raw;
      return { levels: Float64Array.from(this.raw.levels), threshold, below, above, on_missing };
    }

    setUnits(levels) {
      const { cells, width, factors, sign, leastOf, greatestOf } = this;
      const weights = new Float64Array(levels.length + 1);
      weights.set(levels);
      weights[levels.length] = 1; // the number behind the last weight stands for the constant 1
      let most = 0, least = 0;
      for (let c = 0, f = 0; c < cells; c++) {
        let product = weights[factors[f++]];
        for (let k = 1; k < width; k++) product *= weights[factors[f++]];
        const value = sign[c] * product;
        leastOf[c] = greatestOf[c] = value;
        if (value > most) most = value;
        if (value < least) least = value;
      }
      this.hasHarm = most > 0;
      this.hasBenefit = least < 0;
      this.setPatterns();
    }

    setPatterns() {
      const { cells, leastOf, greatestOf, patternStarts, pattern_cells } = this;
      for (let p = 0; p < this.patterns; p++) {
        let least = Infinity, greatest = -Infinity;
        for (let at = patternStarts[p]; at < patternStarts[p + 1]; at++) {
          const value = leastOf[pattern_cells[at]];
          if (value < least) least = value;
          if (value > greatest) greatest = value;
        }
        leastOf[cells + p] = least;
        greatestOf[cells + p] = greatest;
      }
    }

    evaluate(settings) {
      const { n, starts, of_effect, leastOf, greatestOf, low, high } = this;
      this.setUnits(settings.levels);
      for (let i = 0; i < n; i++) {
        let sumLow = 0;
        let sumHigh = 0;
        for (let e = starts[i]; e < starts[i + 1]; e++) {
          const unit = of_effect[e];
          sumLow += leastOf[unit];
          sumHigh += greatestOf[unit];
        }
        low[i] = sumLow;
        high[i] = sumHigh;
        this.close(i, settings);
      }
    }

    // What is missing as a whole, rounding where it could matter, and the decision.
    close(i, settings) {
      const size = this.starts[i + 1] - this.starts[i];
      const doubt = size * size * 2.3e-16; // a plain sum of terms below 1 is not farther off than this
      const upper = settings.threshold + settings.above;
      const lower = settings.threshold - settings.below;
      const isNear = (score) => Math.abs(score - upper) <= doubt || Math.abs(score - lower) <= doubt;
      if (size > 0 && (isNear(this.low[i]) || isNear(this.high[i]))) {
        this.low[i] = this.exact(i, this.leastOf);
        this.high[i] = this.exact(i, this.greatestOf);
      }
      if (this.lost[2 * i] !== 0 && this.hasHarm) this.high[i] = Infinity;
      if (this.lost[2 * i + 1] !== 0 && this.hasBenefit) this.low[i] = -Infinity;
      if (!this.isRead[i]) {
        this.low[i] = -Infinity;
        this.high[i] = Infinity;
      }
      this.decision[i] = decide(this.low[i], this.high[i], settings);
    }

    // The sum of a scenario's effects rounded once, as in an explanation.
    exact(i, valueOf) {
      const terms = [];
      for (let e = this.starts[i]; e < this.starts[i + 1]; e++) terms.push(valueOf[this.of_effect[e]]);
      return fsum(terms);
    }

    // The interval of a scenario as Python prints it.
    interval(i) {
      const low = Number.isFinite(this.low[i]) ? this.exact(i, this.leastOf) : this.low[i];
      return [low, Number.isFinite(this.high[i]) ? this.exact(i, this.greatestOf) : this.high[i]];
    }

    contribution(effect) {
      const unit = this.of_effect[effect];
      return [this.leastOf[unit] + 0, this.greatestOf[unit] + 0];
    }

    isCounted(effect) { return this.of_effect[effect] < this.cells + this.patterns; }

    // How far a score lies from the threshold, positive above it; 0 where the interval holds the threshold.
    margin(i, settings) {
      if (this.low[i] > settings.threshold) return this.low[i] - settings.threshold;
      return this.high[i] <= settings.threshold ? this.high[i] - settings.threshold : 0;
    }
  }

  Object.assign(SA, { ALLOW, REVIEW, BLOCK, DECISIONS, Model, decide, fsum });
})(globalThis.SA);
