// Draws the figures, and keeps their colours those of the page, in light and in dark.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const NAMES = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "cmuted", "ink", "muted", "line", "card"];
  const COLOURS = [
    "line_color", "fill_color", "hatch_color", "text_color", "background_fill_color",
    "border_fill_color", "outline_line_color", "axis_line_color", "axis_label_text_color",
    "major_label_text_color", "major_tick_line_color", "minor_tick_line_color",
    "grid_line_color", "group_text_color", "separator_line_color",
  ];
  // Figures are made with the light colours; each of them stands for a name. A colour of the
  // page is told from another one by being exactly so, so that other colours stay.
  const made = window.PILOTCUT_COLOURS;
  let shown = made;
  const views = [];

  const wanted = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(NAMES.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
  };
  const paint = (models, before, after) => {
    const turned = new Map(NAMES.map((n) => [before[n].toLowerCase(), after[n]]));
    const turn = (c) => (typeof c === "string" && turned.get(c.toLowerCase())) || c;
    for (const model of models) {
      for (const name of COLOURS) {
        const old = model[name];
        if (old == null) continue;
        if (typeof old === "string") {
          if (turn(old) !== old) model[name] = turn(old);
        } else if (typeof old.value === "string" && turn(old.value) !== old.value) {
          model[name] = { ...old, value: turn(old.value) };
        }
      }
      if (Array.isArray(model.palette)) model.palette = model.palette.map(turn);
    }
  };
  const modelsOf = (view) => [...view.model.document._all_models.values()];

  const draw = async () => {
    for (const script of document.querySelectorAll("script.figure")) {
      const item = JSON.parse(script.textContent);
      const manager = await Bokeh.embed.embed_item(item, item.target_id);
      const view = manager.get_by_id(item.root_id);
      paint(modelsOf(view), made, shown);
      views.push(view);
      script.remove();
    }
    document.documentElement.dataset.drawn = views.length;
  };
  const follow = () => {
    const next = wanted();
    for (const view of views) paint(modelsOf(view), shown, next);
    shown = next;
  };
  const toggle = (button) => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    const plot = button.closest("figure").querySelector(".plot");
    for (const view of views) {
      if (!plot.contains(view.el)) continue;
      for (const model of modelsOf(view)) {
        if (model.name === button.dataset.name && "visible" in model) model.visible = on;
      }
    }
  };

  // The contents say where one is.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [id, link] of links) link.classList.toggle("here", id === entry.target.id);
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const section of document.querySelectorAll("section")) seen.observe(section);

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => toggle(button));
  }
  if (window.Bokeh && made) {
    shown = wanted();
    dark.addEventListener("change", follow);
    draw();
  } else {
    document.documentElement.dataset.drawn = 0;
  }
})();
