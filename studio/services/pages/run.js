const slider = document.getElementById("step");
const frames = [...document.querySelectorAll(".frame")];
function turn() {
    frames.forEach((frame, at) => { frame.hidden = at !== Number(slider.value); });
    document.getElementById("at").textContent = frames[slider.value].dataset.step;
}
if (slider) {
    slider.addEventListener("input", turn);
    turn();
}
