// Players of excerpts: all versions run in step, and the chosen one is heard.
(() => {
  "use strict";
  const SAMPLE_RATE = 44100;
  // gains approach their aim exponentially, so that those of two versions always sum to one: 96 % in 10 ms
  const FADE_S = 0.003;
  const SILENT_S = 8 * FADE_S;
  // sources that are to start at one time need it to lie in the future
  const LEAD_S = 0.02;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let context;
  let active = null;

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer;
  }

  class Player {
    constructor(root) {
      this.root = root;
      this.duration = Number(root.dataset.duration);
      this.rest = 0;
      this.run = null;
      this.button = root.querySelector(".play");
      this.slider = root.querySelector(".position");
      this.time = root.querySelector(".time");
      this.status = root.querySelector(".status");
      this.loop = root.querySelector(".loop");
      this.match = root.querySelector(".match");
      this.radios = [...root.querySelectorAll("[type=radio]")];
      this.matched = [...root.querySelectorAll("[data-gain]")].map((track) => Number(track.dataset.gain));
      this.button.addEventListener("click", () => (active === this ? this.pause() : this.play()));
      this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
      this.loop.addEventListener("change", () => this.run?.sources.forEach((source) => (source.loop = this.loop.checked)));
      this.match.addEventListener("change", () => this.balance());
      root.querySelector(".tracks").addEventListener("change", () => this.balance());
      root.querySelectorAll(".picture").forEach((picture, index) =>
        picture.addEventListener("click", (event) => {
          const box = picture.getBoundingClientRect();
          this.select(index);
          this.seek(((event.clientX - box.left) / box.width) * this.duration);
        }),
      );
      root.addEventListener("keydown", (event) => this.key(event));
      this.show();
    }

    get position() {
      if (!this.run) return this.rest;
      return (this.run.offset + Math.max(0, context.currentTime - this.run.startedAt)) % this.duration;
    }

    get selected() {
      return this.radios.findIndex((radio) => radio.checked);
    }

    gains() {
      return this.radios.map((radio, index) => (radio.checked ? (this.match.checked ? this.matched[index] : 1) : 0));
    }

    async play() {
      active?.pause();
      active = this;
      // a phone's mute switch is for ringing, and browsers let audio begin only within a gesture
      if (navigator.audioSession) navigator.audioSession.type = "playback";
      context ??= new AudioContext({ sampleRate: SAMPLE_RATE });
      const resumed = context.resume();
      this.tell("Loading …");
      this.label();
      try {
        this.loading ??= this.load();
        this.buffers = await this.loading;
        await resumed;
      } catch {
        this.loading = null;
        if (active === this) active = null;
        this.tell("The audio cannot be loaded: is the report’s folder complete?");
        this.label();
        return;
      }
      this.tell("");
      if (active === this && !this.run) this.start(this.rest);
      this.label();
    }

    async load() {
      const script = document.createElement("script");
      script.src = this.root.dataset.audio;
      await new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = reject;
        document.head.append(script);
      });
      script.remove();
      return Promise.all(script.tracks.map((flac) => context.decodeAudioData(bytes(flac))));
    }

    start(offset) {
      const startedAt = context.currentTime + LEAD_S;
      const envelope = new GainNode(context, { gain: 0 });
      envelope.gain.setTargetAtTime(1, startedAt, FADE_S);
      envelope.connect(context.destination);
      const gains = this.gains().map((gain) => new GainNode(context, { gain }));
      const sources = this.buffers.map((buffer, index) => {
        const source = new AudioBufferSourceNode(context, { buffer, loop: this.loop.checked });
        source.connect(gains[index]).connect(envelope);
        source.start(startedAt, offset);
        return source;
      });
      this.run = { sources, gains, envelope, startedAt, offset };
      sources[0].onended = () => this.finish();
      requestAnimationFrame(() => this.follow());
    }

    stop() {
      const { sources, envelope } = this.run;
      sources[0].onended = () => envelope.disconnect();
      envelope.gain.cancelScheduledValues(context.currentTime);
      envelope.gain.setTargetAtTime(0, context.currentTime, FADE_S);
      sources.forEach((source) => source.stop(context.currentTime + SILENT_S));
      this.run = null;
    }

    pause() {
      this.rest = this.position;
      if (this.run) this.stop();
      active = null;
      this.label();
      this.show();
    }

    finish() {
      this.run.envelope.disconnect();
      this.run = null;
      this.rest = 0;
      active = null;
      this.label();
      this.show();
    }

    seek(position) {
      // the end is the beginning
      this.rest = Math.max(0, position) % this.duration;
      if (this.run) {
        this.stop();
        this.start(this.rest);
      }
      this.show();
    }

    select(index) {
      this.radios[index].checked = true;
      this.balance();
    }

    balance() {
      const aims = this.gains();
      this.run?.gains.forEach((node, index) => node.gain.setTargetAtTime(aims[index], context.currentTime, FADE_S));
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const index = "123456789".indexOf(event.key);
      if (index >= 0 && index < this.radios.length) this.select(index);
      else if (event.key === " " && event.target.type === "radio" && event.target.checked) {
        event.preventDefault();
        this.button.click();
      }
    }

    follow() {
      if (!this.run) return;
      this.show();
      if (calm.matches) setTimeout(() => this.follow(), 500);
      else requestAnimationFrame(() => this.follow());
    }

    show() {
      const { position, duration } = this;
      this.root.style.setProperty("--at", position / duration);
      this.slider.value = position;
      const time = `${position.toFixed(1)} / ${duration.toFixed(1)} s`;
      if (this.time.textContent === time) return;
      this.time.textContent = time;
      this.slider.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${duration.toFixed(1)} seconds`);
    }

    label() {
      const playing = active === this;
      this.button.classList.toggle("playing", playing);
      this.button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.button.dataset.song}`);
      this.button.setAttribute("aria-busy", playing && !this.run);
    }

    tell(text) {
      this.status.textContent = text;
    }

    state() {
      return {
        playing: this.run !== null,
        position_s: this.position,
        selected: this.radios[this.selected].value,
        gains: this.run ? this.run.gains.map((node) => node.gain.value) : this.gains(),
        started_at: this.run && this.run.startedAt,
      };
    }
  }

  const players = [...document.querySelectorAll(".excerpt")].map((root) => new Player(root));
  window.listening = { players: players.map((player) => ({ state: () => player.state() })) };
})();
