// A live candle chart that never pretends: it draws the newest message, once per animation frame, and greys itself
// when nothing comes any more. Closed bars are traces and redrawn only when they change; what moves several times a
// second (the forming bar, the last price) are shapes, which plotly.js updates in 2 ms however many bars there are.

const UP = "#26a69a", DOWN = "#ef5350", FORMING = "#f5a623";
const COLUMNS = ["time", "open", "high", "low", "close", "volume"];
const SILENT_MS = 3000;
const WATCH_MS = 500;

// Counters for tests and for whoever wonders whether it is drawing.
const seen = (globalThis.__kit ??= { draws: 0, redraws: 0, views: 0, errors: [] });

// -- plain functions ------------------------------------------------------------------------------------------------

export function columns(data) {
  const bytes = data?.byteLength ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : new ArrayBuffer(0);
  const all = new Float64Array(bytes);
  const count = all.length / COLUMNS.length;
  return Object.fromEntries(COLUMNS.map((name, place) => [name, all.subarray(place * count, (place + 1) * count)]));
}

export function barOf(cols) {
  return cols.time.length ? Object.fromEntries(COLUMNS.map((name) => [name, cols[name][0]])) : null;
}

export function traces(bars) {
  const x = Array.from(bars.time);
  const tint = (color) => ({ line: { color, width: 1 }, fillcolor: color });
  return [
    { type: "candlestick", x, open: bars.open, high: bars.high, low: bars.low, close: bars.close, name: "",
      increasing: tint(UP), decreasing: tint(DOWN), showlegend: false },
    { type: "bar", x, y: bars.volume, yaxis: "y2", name: "volume", showlegend: false,
      marker: { color: x.map((_, i) => (bars.close[i] >= bars.open[i] ? UP : DOWN)), opacity: 0.45, line: { width: 0 } } },
  ];
}

export function shapes(bar, last, step, decimals) {
  const drawn = [];
  if (bar) {
    const left = bar.time - step * 0.32, right = bar.time + step * 0.32;
    const rising = bar.close >= bar.open;
    const hollow = { line: { color: FORMING, width: 1.5 }, fillcolor: rising ? "rgba(38,166,154,.3)" : "rgba(239,83,80,.3)" };
    drawn.push(
      { type: "line", x0: bar.time, x1: bar.time, y0: bar.low, y1: bar.high, line: { color: FORMING, width: 1.5 } },
      { type: "rect", x0: left, x1: right, y0: bar.open, y1: bar.close, ...hollow },
      { type: "rect", x0: left, x1: right, y0: 0, y1: bar.volume, yref: "y2", ...hollow, opacity: 0.6 },
    );
  }
  if (Number.isFinite(last)) {
    const color = bar && bar.close < bar.open ? DOWN : UP;
    drawn.push(
      { type: "line", xref: "paper", x0: 0, x1: 1, y0: last, y1: last, line: { color, width: 1, dash: "dot" } },
      { type: "rect", xref: "paper", xsizemode: "pixel", xanchor: 1, x0: 1, x1: 70, ysizemode: "pixel", yanchor: last, y0: -9, y1: 9,
        fillcolor: color, line: { width: 0 }, label: { text: price(last, decimals), font: { color: "#fff", size: 11 } } },
    );
  }
  return drawn;
}

// The span to show, with room above and below so that it seldom has to change; null when there is nothing to show.
export function span(bars, bar, last) {
  let low = Infinity, high = -Infinity, volume = bar ? bar.volume : 0;
  for (let i = 0; i < bars.time.length; i++) {
    low = Math.min(low, bars.low[i]);
    high = Math.max(high, bars.high[i]);
    volume = Math.max(volume, bars.volume[i]);
  }
  for (const value of [bar?.low, bar?.high, last]) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return null;
  const room = (high - low) * 0.08 || Math.abs(high) * 0.001 || 1;
  return { y: [low - room, high + room], y2: [0, volume * 1.25 || 1] };
}

export function holds(range, span) {
  return span.y[0] >= range.y[0] && span.y[1] <= range.y[1] && span.y2[1] <= range.y2[1];
}

const price = (value, decimals) =>
  Number.isFinite(value) ? value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) : "–";
const seconds = (value) => (value == null ? "none yet" : value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`);

// What the veil has to say; empty when the picture is current.
export function doubt({ ended, error, state, reason, age, silentMs }) {
  if (ended) return ended;
  if (silentMs > SILENT_MS) return `STALE · nothing from the kernel for ${Math.round(silentMs / 1000)} s`;
  if (error) return `this view fails · ${error}`;
  if (state === "LIVE") return "";
  const data = age == null ? "no market data yet" : `last market data ${seconds(age)} ago`;
  return [state || "CONNECTING", reason, data].filter(Boolean).join(" · ");
}

// -- plotly.js, once per page ---------------------------------------------------------------------------------------

async function plotly(model) {
  const id = model.get("plotly").replace("IPY_MODEL_", "");
  seen.plotly ??= model.widget_manager.get_model(id).then((source) => loadPlotly(source.get("text")));
  try {
    return await seen.plotly;
  } catch (error) {
    seen.plotly = undefined; // the next view tries again
    throw error;
  }
}

function loadPlotly(text) {
  const before = globalThis.Plotly; // another extension may have its own
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => {
      resolve(globalThis.Plotly);
      if (before) globalThis.Plotly = before;
      URL.revokeObjectURL(url);
    };
    script.onerror = () => reject(new Error("plotly.js did not load"));
    script.src = url;
    document.head.append(script);
  });
}

// -- the view -------------------------------------------------------------------------------------------------------

function skeleton(el, head) {
  el.classList.add("kit-live");
  el.innerHTML = `
    <div class="kit-live-head">
      <span class="kit-live-dot"></span><b class="kit-live-symbol"></b><span class="kit-live-interval"></span>
      <span class="kit-live-badge"></span><span class="kit-live-last"></span><span class="kit-live-quote"></span>
      <span class="kit-live-state"></span>
    </div>
    <div class="kit-live-body"><div class="kit-live-plot"></div><div class="kit-live-veil" hidden><span></span></div></div>`;
  const part = (name) => el.querySelector(`.kit-live-${name}`);
  part("symbol").textContent = head.symbol;
  part("interval").textContent = `${head.interval} · UTC`;
  part("badge").textContent = head.badge;
  part("badge").dataset.tone = head.tone;
  part("badge").hidden = !head.badge;
  return { part, plot: part("plot"), veil: part("veil") };
}

export function layout(ink, width, bars, step, range) {
  const grid = ink.replace(/rgba?\(([^,]+),([^,]+),([^,)]+).*/, "rgba($1,$2,$3,.13)");
  const axis = { gridcolor: grid, zeroline: false, side: "right", fixedrange: false };
  const first = bars.time[0], end = bars.time[bars.time.length - 1];
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 11 },
    margin: { l: 8, r: 72, t: 6, b: 38 }, width, height: 390, uirevision: "kit", dragmode: "pan",
    hovermode: "x", showlegend: false, bargap: 0.3,
    xaxis: { ...axis, type: "date", rangeslider: { visible: false }, anchor: "y2", range: [first - step, end + 8 * step] },
    yaxis: { ...axis, tickformat: ",.10~f", domain: [0.22, 1], range: range.y },
    yaxis2: { ...axis, domain: [0, 0.18], range: range.y2, showticklabels: false, showgrid: false, anchor: "x", fixedrange: true },
  };
}

class Chart {
  constructor(model, el) {
    this.model = model;
    this.head = model.get("head");
    this.el = el;
    this.dom = skeleton(el, this.head);
    this.message = { state: "", reason: "", age: null, error: "" };
    this.bar = null;
    this.prices = [NaN, NaN, NaN];
    this.heard = performance.now();
    this.zoomed = false;
    this.frame = 0;
    this.dirty = true;
    this.gone = false;
  }

  async begin() {
    this.onMessage = (message, buffers) => this.hear(message, buffers);
    this.onBars = () => { this.dirty = true; this.ask(); };
    this.onEnded = () => this.watch();
    this.model.on("msg:custom", this.onMessage);
    this.model.on("change:bars", this.onBars);
    this.model.on("change:ended", this.onEnded);
    this.timer = setInterval(() => this.watch(), WATCH_MS);
    this.size = new ResizeObserver(() => {
      if (this.dom.plot.clientWidth === this.width) return;
      this.dirty = true;
      this.ask();
    });
    this.size.observe(this.dom.plot);
    this.watch();
    seen.views++;
    try {
      this.plotly = await plotly(this.model);
      this.ask();
    } catch (error) {
      this.fail(error);
    }
  }

  hear(message, buffers) {
    this.heard = performance.now();
    this.message = message;
    if (buffers[0]?.byteLength || !message.error) this.bar = barOf(columns(buffers[0]));
    if (buffers[1]?.byteLength) this.prices = new Float64Array(buffers[1].buffer.slice(buffers[1].byteOffset, buffers[1].byteOffset + 24));
    this.ask();
  }

  // Draw at the next animation frame; whatever comes until then is in that drawing.
  ask() {
    if (this.frame || this.gone) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      Promise.resolve().then(() => this.draw()).catch((error) => this.fail(error));
    });
  }

  async draw() {
    this.status();
    if (!this.plotly || !this.el.isConnected || !this.dom.plot.clientWidth) return;
    const bars = this.dirty ? columns(this.model.get("bars")) : this.bars;
    const [last] = this.prices;
    const wanted = span(bars, this.bar, last);
    if (!wanted) return;
    const moving = shapes(this.bar, last, this.head.step, this.head.decimals);
    if (this.dirty) {
      this.dirty = false;
      this.bars = bars;
      this.range = wanted;
      await this.redraw(bars, moving);
    } else if (this.zoomed || holds(this.range, wanted)) {
      await this.plotly.relayout(this.dom.plot, { shapes: moving });
    } else {
      this.range = wanted;
      await this.plotly.relayout(this.dom.plot, { shapes: moving, "yaxis.range": wanted.y, "yaxis2.range": wanted.y2 });
    }
    seen.draws++;
  }

  async redraw(bars, moving) {
    this.ink = getComputedStyle(this.el).color;
    this.width = this.dom.plot.clientWidth;
    const look = layout(this.ink, this.width, bars.time.length ? bars : { time: [this.bar.time] }, this.head.step, this.range);
    const kept = this.zoomed ? this.dom.plot.layout : null; // what the user has zoomed to stays
    if (kept) {
      look.xaxis.range = kept.xaxis.range;
      look.yaxis.range = kept.yaxis.range;
    }
    const config = { displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toImage"] };
    await this.plotly.react(this.dom.plot, traces(bars), { ...look, shapes: moving }, config);
    seen.redraws++;
    if (this.listening) return;
    this.listening = true;
    this.dom.plot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change || "yaxis.range[0]" in change) this.zoomed = true;
    });
    this.dom.plot.on("plotly_doubleclick", () => {
      this.zoomed = false;
      this.dirty = true;
      this.ask();
      return false;
    });
  }

  status() {
    const { part } = this.dom;
    const [last, bid, ask] = this.prices;
    const { decimals } = this.head;
    part("last").textContent = price(last, decimals);
    part("last").dataset.way = this.bar ? (this.bar.close < this.bar.open ? "down" : "up") : "";
    part("quote").textContent = Number.isFinite(bid) ? `${price(bid, decimals)} / ${price(ask, decimals)}` : "";
  }

  // Twice a second, whether or not anything came: the one thing a dead kernel can't do for itself.
  watch() {
    const silentMs = performance.now() - this.heard;
    const age = this.message.age == null ? null : this.message.age + silentMs / 1000;
    const words = doubt({ ...this.message, age, ended: this.model.get("ended"), silentMs });
    this.dom.veil.hidden = !words;
    this.dom.veil.firstElementChild.textContent = words;
    this.el.classList.toggle("kit-live-doubtful", Boolean(words));
    this.dom.part("dot").dataset.state = words ? "doubt" : "live";
    const { state } = this.message;
    this.dom.part("state").textContent = words ? "" : `${state} · data ${seconds(age)} old`;
    if (this.ink && this.ink !== getComputedStyle(this.el).color) { // the theme changed
      this.dirty = true;
      this.ask();
    }
  }

  fail(error) {
    seen.errors.push(String(error?.stack ?? error));
    this.dom.part("state").textContent = `can't draw: ${error?.message ?? error}`;
  }

  end() {
    this.gone = true;
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
    this.size.disconnect();
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:bars", this.onBars);
    this.model.off("change:ended", this.onEnded);
    if (this.plotly) this.plotly.purge(this.dom.plot);
    seen.views--;
  }
}

function render({ model, el }) {
  const chart = new Chart(model, el);
  chart.begin();
  return () => chart.end();
}

export default { render };
