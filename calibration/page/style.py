"""The report's style sheet. Light, dark and paper; from 320 pixels wide; no font from elsewhere.

Colours follow Okabe & Ito (2008), darkened or lightened to a contrast of at least 4.5 to 1 for texts
and 3 to 1 for shapes (WCAG 2.1, 1.4.3 and 1.4.11); nothing
is said by colour alone.
"""

_LIGHT = """
--page:#f6f5f1;--card:#fff;--ink:#1b1d1f;--soft:#5a6068;--line:#dcdad3;--grid:#e8e6e0;
--ok:#00684c;--ok-wash:#e3f3ec;--changed:#7d5200;--changed-wash:#fdf1d3;--harmful:#a93608;
--harmful-wash:#fde8de;--loss:#d55e00;--loss-line:#8f3d00;--gain:#0072b2;--gain-line:#004f7c;
--curve:#0072b2;--quiet:#c9c6bd
"""
_DARK = """
--page:#131517;--card:#1c1f22;--ink:#eceae5;--soft:#a7adb4;--line:#363b40;--grid:#2b2f33;
--ok:#5fd0a8;--ok-wash:#14302a;--changed:#f0bd55;--changed-wash:#352a12;--harmful:#ff9468;
--harmful-wash:#3b2016;--loss:#e8702a;--loss-line:#ffb38c;--gain:#56b4e9;--gain-line:#9bd3f5;
--curve:#56b4e9;--quiet:#4a5057
"""

STYLE = (
    ":root{color-scheme:light dark;"
    + _LIGHT
    + "}@media screen and (prefers-color-scheme:dark){:root{"
    + _DARK
    + """}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main,footer{max-width:60rem;margin:0 auto;padding:0 1.25rem}
header{padding:2.5rem 0 0}
h1,h2,h3,p,dl,dd,figure,table,ul,ol{margin:0;padding:0}
h1{font-size:clamp(1.3rem,1.05rem + 1.2vw,1.75rem);line-height:1.28;font-weight:650;letter-spacing:-.012em;
text-wrap:pretty;margin:.75rem 0 0;max-width:46rem}
.lead{font-size:1.08rem;margin:.6rem 0 0;max-width:46rem}
h2{font-size:1.2rem;font-weight:650;letter-spacing:-.005em}
h3{font-size:1rem;font-weight:650}
.over{color:var(--soft);font-size:.9rem}
.over b{color:var(--ink);font-weight:600}
.soft{color:var(--soft)}
section{margin:2.75rem 0 0}
section>h2+p{color:var(--soft);margin:.3rem 0 0;max-width:46rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:1.1rem 1.25rem;margin:.9rem 0 0}
.verdict{display:inline-flex;align-items:center;gap:.5em;font-weight:600;border-radius:99px;
border:1.5px solid;padding:.18rem .85rem .18rem .55rem;white-space:nowrap}
header .verdict{font-size:1.1rem;margin:1.1rem 0 0}
.rung .verdict{font-size:.85rem;padding:.05rem .65rem .05rem .4rem}
.verdict svg{width:1.15em;height:1.15em;flex:none}
.verdict path{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.ok.verdict{color:var(--ok);background:var(--ok-wash)}
.changed.verdict{color:var(--changed);background:var(--changed-wash)}
.harmful.verdict{color:var(--harmful);background:var(--harmful-wash)}
.facts{display:grid;gap:.9rem 1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,11.5rem),1fr))}
.facts dt{color:var(--soft);font-size:.82rem;line-height:1.35}
.facts dd{font-weight:600;line-height:1.4}
.facts small{display:block;color:var(--soft);font-weight:400;font-size:.82rem}
.key{margin:1.6rem 0 0}
.key dd{font-size:1.2rem;font-weight:650}
.rung{border-left:5px solid var(--quiet)}
.rung.changed{border-left-color:var(--changed);border-left-style:dashed}
.rung.harmful{border-left-color:var(--harmful)}
.rung.ok{border-left-color:var(--ok)}
.rung>div{display:flex;flex-wrap:wrap;gap:.3rem .8rem;align-items:center;justify-content:space-between}
.rung h3 small{display:block;font-weight:400;color:var(--soft);font-size:.85rem}
.rung>p{margin:.55rem 0 0;max-width:46rem}
.rung .facts{margin:.9rem 0 0}
.chart{display:block;overflow:visible;font-size:14px}
.chart text{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.chart .soft,.chart .tick{fill:var(--soft)}
.chart .tick{font-size:12px}
.row-title,.chart .strong{font-weight:650}
.chart .harmful{fill:var(--harmful);font-weight:650}
.families{margin:1.1rem 0 0}
.grid{stroke:var(--grid);stroke-width:1}
.grid.zero{stroke:var(--soft)}
.connect{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.bar.loss{stroke:var(--loss-line)}
.bar.gain{fill:var(--gain);stroke:var(--gain-line)}
.bar.changes{fill:var(--quiet);stroke:var(--soft)}
.bar.unproven{fill:var(--card);stroke:var(--soft);stroke-width:1.2}
.whisker{stroke:var(--ink);stroke-width:1.6}
.dot{fill:var(--ink);stroke:var(--card);stroke-width:1.5}
.dot.small{fill:var(--curve);stroke:none}
.dot.bad{fill:var(--loss);stroke:var(--ink);stroke-width:1.5}
.curve{fill:none;stroke:var(--curve);stroke-width:2;stroke-linejoin:round}
.jump{stroke:var(--loss);stroke-width:1.6;stroke-dasharray:5 3}
.chart .jump-text{fill:var(--harmful);font-weight:650;font-size:13px}
.axis-zero{stroke:var(--soft);stroke-width:1.2}
.hatch-ground{fill:var(--loss)}
.hatch-line{stroke:var(--card);stroke-opacity:.55;fill:none}
.defs{position:absolute}
figcaption{color:var(--soft);font-size:.86rem;margin:.7rem 0 0;max-width:46rem}
.swatch{display:inline-block;vertical-align:-.12em;width:1.5em;height:.9em;margin:0 .15em 0 .3em}
.shots{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.6rem;margin:.7rem 0 0}
.shots figure{min-width:0}
.shots img{display:block;width:100%;height:auto;border-radius:5px;border:1px solid var(--line);
background:#000}
.shots img.tiny{image-rendering:pixelated}
.shots figcaption{margin:.3rem 0 0;font-size:.82rem;line-height:1.35}
.gallery{display:grid;gap:.9rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));margin:.9rem 0 0}
.gallery .card{margin:0}
.gallery .name{color:var(--soft);font-size:.82rem}
.answers{font-weight:600}
.scroll{overflow-x:auto}
.scroll table{min-width:34rem}
table{overflow-wrap:break-word;border-collapse:collapse;width:100%;font-size:.9rem;line-height:1.4}
caption{text-align:left;color:var(--soft);font-size:.86rem;padding:0 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.42rem .9rem .42rem 0;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:500;font-size:.82rem;vertical-align:bottom}
tbody th{font-weight:600}
tbody tr:last-child>*{border-bottom:0}
td.number,th.number{text-align:right;white-space:nowrap}
tr.differs td{font-weight:650}
.mark{white-space:nowrap;color:var(--changed);font-weight:650}
.plain{list-style:none}
ul.notes{padding:0 0 0 1.1rem}
ul.notes li{margin:.35rem 0}
ul.findings{margin:0 0 1rem}
details{margin:.9rem 0 0}
summary{cursor:pointer;color:var(--soft);font-size:.9rem}
summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--gain);outline-offset:3px}
details[open] summary{margin-bottom:.6rem}
.read dt{font-weight:600}
.read dd{color:var(--soft);margin:0 0 .6rem}
footer{color:var(--soft);font-size:.82rem;padding-top:2.5rem;padding-bottom:3rem}
@media(max-width:34rem){
.chart{font-size:13px}
main,footer{padding-left:1rem;padding-right:1rem}
header{padding-top:1.5rem}
.card{padding:.9rem 1rem}
.facts{grid-template-columns:repeat(auto-fill,minmax(min(100%,8.5rem),1fr));gap:.8rem 1rem}
.key dd{font-size:1.02rem}
.shots{gap:.35rem}
.shots figcaption{font-size:.75rem}
.env thead{display:none}
.env tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.env th,.env td{display:block;border:0;padding:0}
.env td[data-of]::before{content:attr(data-of) ": ";color:var(--soft);font-weight:400}
.env td:empty{display:none}
}
@media print{
:root{--page:#fff;--card:#fff}
@page{margin:14mm}
html{font-size:11px}
.chart{font-size:11px}
.chart .tick{font-size:10px}
main,footer{max-width:none;padding:0}
header{padding:0}
section{margin-top:1.6rem}
.card,figure,.rung,tr{break-inside:avoid}
h2,h3,section>h2+p{break-after:avoid;break-inside:avoid}
.scroll{overflow:visible}
.scroll table{min-width:0}
.chart,.shots img,.verdict{-webkit-print-color-adjust:exact;print-color-adjust:exact}
.guide::details-content{content-visibility:visible;block-size:auto}
}
"""
)
