"""The words by which a reply states, denies, doubts or refuses an option, in several languages.

Patterns are put between word boundaries where their letters have such; in scripts without blanks
between words they are found anywhere.
"""

from __future__ import annotations

import re

# Words for "answer"; a letter that follows them, after a colon or "is", is what is stated.
_ANSWER_WORDS = (
    r"\b(?:(?:final |best |correct |right |my |the |most likely |chosen )*"
    r"(?:answers?|response|reply|solution|pick|selection|verdict|conclusion|decision|guess|ans"
    r"|prediction|result|output|final|conclude)"
    r"|(?:best|correct|right|true|accurate|suitable|appropriate|final|chosen|selected|likely|my"
    r"|plausible|only)"
    r" (?:options?|choices?|one|letter|statement|description|alternative|match|candidate"
    r"|explanation|reason|motive)"
    r"|(?:option|choice)(?= ?(?:is|:|=))|(?:option|choice|one|statement|description) (?:that"
    r"|which)"
    r"|(?:most )?(?:best|correct|right|suitable|appropriate|accurate|likely|plausible|fitting"
    r"|probable)"
    r"(?= (?:is|would be|must be)| ?:)|(?:reason|explanation)(?= (?:is|would be)\b)"
    r"|respuesta|opci[oó]n correcta|alternativa correc?ta|letra|soluci[oó]n|elecci[oó]n"
    r"|r[ée]ponse|bonne option|option correcte|choix|solution"
    r"|antwort|l[öo]sung|richtige option|risposta|opzione corretta|scelta"
    r"|resposta|op[çc][ãa]o correta|antwoord|odpowied[zź]|odpov[eěď]+[dď]?|svaret|svar|vastaus"
    r"|cevap|cevab[ıi]|yan[ıi]t|jawaban(?:nya)?|r[aă]spuns(?:ul)?|v[aá]lasz|[dđ][aá]p [aá]n"
    r"|c[aâ]u tr[aả] l[oờ]i|απ[αά]ντηση)\b"
    r"|ответ|(?:правильн|верн)\w+ вариант"
    r"|відповідь|вариант ответа|отговор|答案|(?:正确|正確|最佳|合适)的?(?:选项|選項)|正解"
    r"|答え|回答|解答|答|结论|結論"
    r"|选项是|選項是|选择的是"
    r"|정답|답변|답|الإجابة|الاجابة|الجواب|जवाब|उत्तर|উত্তর|כתשובה|התשובה|תשובה|ค[ำํา]+ตอบ|پاسخ"
    r"|பதில்"
)

# What may stand between a word for "answer" and what it is.
_IS = (
    r"(?:is|was|are|be|being|=|equals|es|est|ist|lautet|[eè]|é|er|[aä]r|on|jest|to|je|este"
    r"|adalah|ialah|l[aà]"
    r"|ser[ií]a|serait|w[aä]re|sarebbe|seria|είναι"
    r"|это|является|هي|هو|है|হল|היא|הוא|คือ|است)"
)
_FILLER = (
    r"(?:\b(?:clearly|definitely|obviously|therefore|thus|likely|probably|most|simply|option"
    r"|options"
    r"|choice|choices|letter|alternative|answer|number|the|la|le|el|l|die|der|das|o|a|il|lo"
    r"|opci[oó]n|opzione|op[çc][ãa]o"
    r"|variante|letra|lettre|buchstabe|litera|caso|que|che|det|de|het|az|answered|as|follows"
    r"|with|for)\b"
    r"|вариант|буква|选项|選項|第|选|選|オプション|選択肢|옵션|선택지|बिकल्प|विकल्प|الخيار|ตัวเลือก"
    r"|[\s:;,=\"'()\[\]{}<>|→➡👉✅☑✓✔️\-])*"
)

_CHOOSES = (
    r"\b(?:(?:choose|chose|chosen|choosing|pick|picked|picking|select|selected|selecting"
    r"|go with|going with|went with|opt for|opting for|settle on|settle for|vote for|stick with|"
    r"i say|i'd say|so is|so does|as is|as does"
    r"|would say|i guess|i think|i believe|i reckon|i conclude|bet on"
    r"|bet is"
    r"|lean towards?|leaning towards?|favou?r|prefer|answer(?: with)?|match(?:es|ing)|fits|"
    r"(?:best )?aligns with|supports|described by|leaves only|"
    r"left with|points? to|leads? to|"
    r"(?:this |that )?leaves us with|(?:this|that|which) leaves|leaving(?: us with| only| just)?|"
    r"corresponds? (?:to|with)|elijo|escojo|selecciono|choisis|je choisis|w[äa]hle|scelgo|escolho|"
    r"kies|wybieram|se[çc]iyorum|memilih|ch[oọ]n)"
    r"(?: (?:that )?(?:it's|it is|it must be|it should be|it has to be|it would be|is|that"
    r"|for))?)\b"
    r"|выбираю|обираю|选择|選擇|应该选|应选|應選|故选|选|選|選びます|선택|고르"
)
_SO = (
    r"(?:\b(?:therefore|thus|hence|so|consequently|accordingly|finally|overall|in conclusion"
    r"|in summary|to conclude|as a result|final|final answer|conclusion|verdict|actually|rather"
    r"|instead|wait|no|correction"
    r"|sorry|scratch that|on second thought|por lo tanto|donc|also|quindi|portanto|daher)\b"
    r"|因此|所以|综上|故|したがって|따라서|→|=>|∴|⇒|➡|👉|✅|☑)"
)
_ITIS = (
    r"\b(?:it's|it is|that's|that is|this is|it must be|it should be|it would be|it has to be"
    r"|it was"
    r"|must be|should be|would be|has to be|definitely|clearly|obviously|certainly|probably"
    r"|most likely|surely|likely|return|es|est|ist|è|é"
    r"|(?:based on|according to|given|from|in|looking at|after (?:watching|viewing"
    r"|seeing))(?: the| this| these| what)*"
    r" (?:videos?|frames?|clip|footage|images?|options|choices|information|context|evidence"
    r"|scene|content)\b[^,]{0,40}(?=,)|es la|es el|c'est|c'est la|es ist|das ist|è la|é a)\b|это|是"
)

#: Before an option: it is the answer.
STATES = re.compile(
    rf"(?:(?:{_ANSWER_WORDS})(?P<gap>[^.!?\n;。！？\ue000-\ue1ff]{{0,90}}?)"
    rf"(?:(?<!\w){_IS}(?!\w)|[:=\s是为為は가은는이คือ])"
    rf"|(?:{_CHOOSES})|{_SO}|(?:{_ITIS})){_FILLER}$"
)

#: After an option: it is the answer.
RIGHT_AFTER = re.compile(
    r"^[\s.:)\]\"'\-]*(?:(?:is|was|seems|appears|looks|would be|must be|should be|has to be|="
    r"|est|es|ist|è|é|est[áà]"
    r"|to be|option|choice|answer)\b\s*)*"
    r"(?:the|my|a|la|le|die|il|clearly|definitely|obviously|probably|likely|most|more|only"
    r"|single|best|"
    r"also|indeed|therefore|thus|\s)*\s*"
    r"(?:\b(?:correct|right(?! (?:of|side|hand|next|behind|after|before|at|now|in|on)\b)"
    r"|best(?! (?:ruled|excluded|eliminated|ignored|avoided))|true|accurate|answer|yes"
    r"|proper answer|final|suitable|appropriate|plausible|supported|better"
    r"|likely|correcta|correcto|correcte|bonne|richtig|corretta|correta|certa|giusta|juist"
    r"|poprawna|do[gğ]ru|benar)\b"
    r"|(?:option|choice|one|answer) (?:that|which) (?:fits|matches|describes|makes sense|applies"
    r"|is (?:correct|right|true))"
    r"|\b(?:(?:best|better|accurately|correctly) )*(?:matches|fits|describes|captures)\b"
    r"|consistent with\b|too(?=\W*$)"
    r"|equally (?:good|valid|correct|plausible)|works (?:too|equally|as well)"
    r"|reason(?=\W*$)|makes (?:the most )?sense|✓|✔|✅|☑|верн"
    r"|правильн"
    r"|also (?:works|applies|holds|possible|valid)\b|it is(?=\W*$)|for (?:sure|certain)\b"
    r"|korrekt|번?[이가]? 정답"
    r"|(?:选项|選項)?(?:是|为|才是)?(?:正确|正確|对的|對的)|が正解|が正しい|이 정답|가 정답"
    r"|이 맞|가 맞)"
)

_DENIALS = (
    r"\b(?:not|no|never|neither|nor|none|nothing|without|cannot|wrong|incorrect|false|except"
    r"|excluding|unlike"
    r"|rather than|instead of|other than|but for|ruled? out|ruling out|eliminat\w*|exclud\w*"
    r"|reject\w*|discard\w*"
    r"|dismiss\w*|absent|lacks?|lacking|fails?|isn|avoid|unlikely|impossible|worst|least likely"
    r"|least|hardly|barely|scarcely|opposite|far from|doubt(?:s|ful)?|used to be"
    r"|hesitate|mistake|mistakenly|wrongly|nobody|no one|rarely|seldom|little"
    r"|disagree|den(?:y|ies|ied)"
    r"|myth|(?:ca|wo)n't"
    r"|ni|nunca|ninguna?|n'est|pas|ne|nicht|kein\w*|weder|falsch\w*|non|n[aã]o|nem|niet|geen|nie"
    r"|inte|ikke|ej|ei|nem"
    r"|de[gğ]il|bukan|tidak|kh[oô]ng|nu|δεν|incorrecta|incorrecto|mauvaise)\b|n't\b|n't(?=\W)|≠"
    r"|¬|❌|✗|✘|×"
    r"|(?<!\w)(?:не|ни|нет|неверн\w*|неправильн\w*|ні)(?!\w)|неверн|неправильн|不|非|没|沒|未"
    r"|排除|错|錯"
    r"|ではな[くい]?て?|じゃな[くい]?て?|間違|誤り|아니라?|아닙|틀|않|ليس|لا |नहीं|গলত|לא|ไม่|نیست"
)
#: Anywhere before an option in its clause: it is not the answer.
DENIES = re.compile(_DENIALS)

#: After an option: it is not the answer.
DENIED_AFTER = re.compile(
    r"^[\s.:,)\]\"'\-]*[가이는은がはも]?\s*(?:(?:option|choice|answer|one|only|also|here|by itself"
    r"|alone)\s+)*"
    r"(?:(?:is|was|are|were|am|does|do|did|can|could|would|should|will|has|have|may|might|seems?"
    r"|appears?"
    r"|looks?|es|est|ist|è|é|são|adalah|both|all|clearly|definitely|obviously|also|therefore|thus"
    r"|simply|probably|likely|certainly|be|been|to)\s*)*"
    rf"(?:{_DENIALS}|\bout\b|\binvalid|\binaccurate|\bless\b|\birrelevant|\bunsupported"
    rf"|\bmisleading|\bimplausible|\bdoubtful|\bunrelated|\bcontradict"
    r"|\bincor|\bfausse?\b|\bsbagliat|\berrad|\bincorret|\bsalah\b|\byanl[ıi][sş])"
)

#: In a clause: it is a possibility only.
DOUBTS = re.compile(
    r"\b(?:maybe|perhaps|possibly|might|may be|could|may|can be|either|whether|if|unless|or"
    r"|between|supposing|assume"
    r"|suppose|initially|at first|first thought|at first glance|first glance|thought it"
    r"|thought the answer|seemed|tempting|tempted|considered|consider"
    r"|(?:people|some|others|many|someone) (?:\w+ )?(?:choose|say|pick|think|answer|guess|select)"
    r"|(?:they|he|she|someone|you) (?:\w+ )?(?:claim|claims|said|says|thinks?)"
    r"|considering|used to think|would have been|quiz[aá]s|tal vez|peut-[êe]tre|vielleicht|forse"
    r"|talvez"
    r"|o|ou|oder|eller|ali|lub|veya|atau|ho[aặ]c|或者?)\b|возможно|может быть|или|或|也许|可能"
    r"|かもしれ|または"
    r"|또는|혹은|아마"
    r"|\?|？"
    # "He stopped reading" and "he is about to read": not what he does.
    r"|\b(?:stop(?:s|ped)?|quits?|avoid(?:s|ed)?|finish(?:es|ed)|refus\w+ to|about to"
    r"|pretend\w* to)(?: (?:be|start|finish))?\W*$"
)

#: A later claim after one of these takes the place of an earlier one.
CORRECTS = re.compile(
    r"\b(?:wait|actually|no,|correction|on second thought|second thoughts|scratch that|rather"
    r"|instead|however|but|"
    r"therefore|thus|hence|so|final|finally|in conclusion|i was wrong|i made a mistake|mistaken"
    r"|let me correct"
    r"|re-?consider\w*|re-?check\w*|looking again|upon (?:closer|further|re)\w*|changed? my mind"
    r"|overall|in summary"
    r"|consequently|sorry|oops|apologies|hmm|pero|mais|aber|ma|mas|donc)\b|\bno\s*[,.:!-]|因此|所以"
    r"|不对|不對|等等|其实|最终|但|поэтому|однако|но "
)

_VIDEO = (
    r"(?:videos?|images?|frames?|clips?|footage|pictures?|contents?|visuals?|media|attachments?"
    r"|files?|scenes?|context)"
)
#: Whoever writes this saw nothing: nothing in the reply counts.
_SUBJECT = r"(?:\b(?:i|we|you|one|it|that|this|which)\b[^.!?\n,;]{0,30}?|^\W*)"
_SEES = (
    r"(?:see|view|watch|access|open|play|process|analy[sz]e|determine|tell|answer|identify"
    r"|provide|help|assist|say|verify"
    r"|confirm|give|choose|select|pick|decide|know|make (?:a|out|any)|discern|infer"
    r"|be (?:determined|answered|known|inferred"
    r"|established|certain|sure|identified|seen clearly))"
)
HARD_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|apologies|as an? (?:\w+ )?(?:ai|language model|assistant)\b"
    r"|as a large"
    r"|i must decline|not allowed to|against my|not comfortable|insufficient"
    rf"|no {_VIDEO} (?:was |were |is |are |has been |have been |to |in )?(?:provided|attached"
    rf"|available|given|uploaded"
    r"|included|found|supplied|shared|received|here|present|input|analy[sz]e|view|see)"
    rf"|there(?:'s| is| was| are| were)(?: no|n't (?:a|any)|n't) (?:\w+ )?(?:video|footage|clip"
    rf"|attachment)\b"
    rf"|(?:no|without|lack(?:ing)?|missing) (?:any |the |a |an |access to (?:the |any |a )?"
    rf"|seeing (?:the |any |a )?"
    rf"|viewing (?:the |any |a )?|watching (?:the |any |a )?)*{_VIDEO}(?= ?(?:[,.!;]|$|i |it))"
    r"|(?:i|we) (?:(?:do not|don't|did not|didn't|haven't|have not) (?:actually )?(?:have"
    r"|received?|see|been|get|got)\b)"
    rf"|{_VIDEO} (?:does|do|did|is|are|was|were)(?: not|n't)(?: \w+)? (?:enough|sufficient"
    rf"|any information|the answer"
    r"|visible|available|provided|accessible|loading|load|attached|playing|clear)"
    r"|(?:not|n't|no)(?: \w+)? ?(?:enough|sufficient|adequate) (?:\w+ )?(?:information|context"
    r"|details?|evidence|data|clues)"
    r"|(?:please|could you|can you|would you)(?: please)? (?:provide|upload|share|attach|send"
    r"|describe|give|re-?upload|clarify)"
    r"|impossible to|no (?:way|means) (?:to|of)"
    r"|none of (?:the (?:above|\w+ ?options?|options?|choices|answers|given|provided|listed)"
    r"|these|them)"
    r"|no (?:correct |right |suitable |matching |valid |appropriate |clear )?(?:options?"
    r"|answers?|choices?)"
    r"|lo siento|no puedo|no se puede|d[ée]sol[ée]e?|je ne (?:peux|vois|sais)"
    r"|kann (?:ich )?(?:\w+ ){0,6}nicht|leider"
    r"|mi dispiace|non posso|n[aã]o (?:posso|consigo|[ée] poss[ií]vel)|desculp\w*|lamento)\b"
    rf"|{_SUBJECT}(?:can ?not|can't|couldn't|could not|can not|unable to|not able to|am unable"
    rf"|not possible to)"
    rf" (?:\w+ly |even |help or |be able to )*{_SEES}\b"
    r"|(?:^|\bi am |\bi'm |\bi |\bwe )(?:unable|refuse|decline)\b"
    r"|извин|не могу|невозможно|无法|無法|抱歉|对不起|不能|看不到|看不见|できません|わかりません"
    r"|分かりません|申し訳"
    r"|죄송|수 없|لا أستطيع|क्षमा"
)
#: Doubt about the video, which a stated answer later on overrules.
SOFT_REFUSAL = re.compile(
    r"\b(?:unclear|not clear|unsure|not (?:\w+ly |really |quite |100% )?(?:sure|certain)|uncertain"
    r"|no idea|(?:do not|don't|doesn't|does not) (?:really |actually )?know|not known|unknown"
    r"|undetermined"
    r"|(?:hard|difficult|tricky|tough|not easy) (?:for me )?to (?:tell|say|know|determine|see"
    r"|identify"
    r"|answer|judge|discern|make out)|isn't clear|no se sabe)\b|不确定|不清楚|不知道|不明"
    r"|неизвестно|не знаю"
)

#: Words that never follow an article: "A because" begins with the letter.
CLOSED_CLASS = (
    "is|was|because|since|seems|appears|looks|or|and|not|but|rather|instead|would|must|should|"
    "cannot|isn't|doesn't|wasn't|can't|for|in|from|to|at|on|with|here|due|given|based|after|when"
    "|which|"
    "matches|fits|makes the|best (?:fits|matches|describes)|that|where|it|he|she|they|this|there"
    "|we|you|so|then|than|as|by|over|nor|are|were|be|will|"
    "has|also|does|if|though|while|whereas|according|for|through|can be|of the options|however"
    "|es|est|ist|ou|oder|y|und|et|"
    "o|e|ni|no es|adalah|atau"
)

#: After an option: it is given up, whatever else follows.
TAKES_BACK = re.compile(
    r"\b(?:no wait|wait,? no|actually,? no|scratch that|on second thought|i was wrong"
    r"|i made a mistake|i am wrong"
    r"|(?:that|this|it)(?: is|'s| was) (?:wrong|incorrect|a mistake|false)"
    r"|(?:that|this|it)(?: is not|'s not| isn't| was not| wasn't) (?:right|correct)"
    r"|let me (?:correct|reconsider|think again|re-?check)|or (?:maybe|perhaps) not|not really"
    r"|just kidding|ignore that)\b|[.!?,]\s(?:hmm\W*|oh\W*)?no\W*$"
)

#: Between two options that are named together.
JOINS = re.compile(
    r"^(?!.*[❌✗✘✅✓✔☑≠¬×])\W*(?:,|/|&|\+|or|and|nor(?: is it)?|n[ié]|nem|noch|ни|vs\.?|versus"
    r"|and/or|as well as|y|o|u|e|ou|et|oder|und"
    r"|eller|lub|i|veya|ve|atau|dan|ho[aặ]c|v[aà]"
    r"|или|и|або|та|或者?|和|与|與|、|と|または|또는|와|과|أو|या|either|both|also|maybe|perhaps"
    r"|possibly|,"
    r"|option|choice|"
    r"the|an?|then|un|una|la|el|\s|[\"'()\[\]])*\W*$"
)
